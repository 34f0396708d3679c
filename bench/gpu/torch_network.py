"""PyTorch's networks with the weights of scripts/formula.py, and what the steps in Python share."""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
import torch
import torchvision

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from cifar_resnet import CifarResNet  # noqa: E402
import formula as formula_module  # noqa: E402

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "tf32": torch.float32}
rule = formula_module.load_rule()


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", default="dry")
    parser.add_argument("--scratch", default="/tmp")
    parser.add_argument("--network", default="")
    parser.add_argument("--dtype", default="")
    return parser.parse_args()


def report(kind, **found):
    print(json.dumps({"kind": kind, **found}), flush=True)


def device_of(mode):
    return torch.device("cpu" if mode == "dry" else "cuda")


def set_precision(dtype):
    """TF32 where it is asked for and nowhere else."""
    allowed = dtype == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


# Blocks a stage; 10 classes.
CIFAR = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}


def block_of(name):
    return "basic" if name in ("resnet18", "resnet34", *CIFAR) else "bottleneck"


class Narrow(torchvision.models.ResNet):
    """A quarter of the channels, of every stage but the stem: what a rehearsal runs, on both sides."""

    def _make_layer(self, block, planes, *arguments, **options):
        layer = super()._make_layer(block, planes // 4, *arguments, **options)
        self.fc_inputs = self.inplanes
        return layer


def architecture(name, narrow, output_stride=32):
    if name in CIFAR:
        return CifarResNet(CIFAR[name])
    whole = getattr(torchvision.models, name)
    dilation = [False, output_stride <= 8, output_stride <= 16]
    if not narrow:
        return whole(num_classes=1000, replace_stride_with_dilation=dilation)
    found = whole()
    blocks = [found.layer1, found.layer2, found.layer3, found.layer4]
    model = Narrow(type(found.layer1[0]), [len(layer) for layer in blocks], groups=found.groups,
                   width_per_group=found.base_width, replace_stride_with_dilation=dilation)  # fmt: skip
    model.fc = torch.nn.Linear(model.fc_inputs, 1000)
    return model


def formula_on(device, name, shape, lo, hi):
    """formula.formula(), computed on the device: int64 arithmetic wraps as uint64 does, its shifts are masked."""
    start = int(formula_module.finalise(np.array([(rule["seed"] + formula_module.GAMMA) & formula_module.MASK], dtype=np.uint64))[0])
    signed = lambda x: x - (1 << 64) if x >= 1 << 63 else x  # noqa: E731
    shifted = lambda z, n: (z >> n) & ((1 << (64 - n)) - 1)  # noqa: E731
    count = int(np.prod(shape))
    z = torch.arange(1, count + 1, dtype=torch.int64, device=device) * signed(formula_module.GAMMA)
    z += signed(start ^ formula_module.fnv1a64(name))
    z = (z ^ shifted(z, 30)) * signed(0xBF58476D1CE4E5B9)
    z = (z ^ shifted(z, 27)) * signed(0x94D049BB133111EB)
    z = z ^ shifted(z, 31)
    u = shifted(z, 40).to(torch.float32) * 2.0**-24
    lo, hi = np.float32(lo), np.float32(hi)
    # Two roundings, never a fused multiply-add.
    return (u * float(hi - lo)).add_(float(lo)).reshape(shape)


def check_formula(device):
    ours = formula_on(device, "check", [3, 1117], -0.7, 1.3).cpu().numpy()
    if not np.array_equal(ours, formula_module.formula(rule["seed"], "check", [3, 1117], -0.7, 1.3)):
        raise AssertionError("the formula on the device differs from scripts/formula.py")


def build(name, device, dtype="float32", narrow=False, output_stride=32):
    """The network in eval mode, channels last, weights by formula; CIFAR's are never narrowed."""
    check_formula(device)
    with torch.device(device):  # initialised there, which is quicker, though all of it is overwritten
        model = architecture(name, narrow, output_stride).eval()
    block = block_of(name)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                bounds = formula_module.parameter_range(rule, block, key, list(value.shape))
                value.copy_(formula_on(device, key, list(value.shape), *bounds))
    return model.to(dtype=DTYPES[dtype]).to(memory_format=torch.channels_last)


def formula_images(images, shape):
    return torch.from_numpy(np.stack([formula_module.input_image(rule, image, shape) for image in range(images)]))


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(device, call, seconds, most=100000):
    """Calls it for about that long; (calls, seconds taken), by device events where there are any."""
    call()
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    once = max(time.perf_counter() - start, 1e-6)
    calls = max(3, min(most, int(seconds / once)))
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return calls, time.perf_counter() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return calls, begin.elapsed_time(end) / 1000
