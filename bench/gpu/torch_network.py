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
from cifar_resnet import resnet20  # noqa: E402
from formula import input_image, load_rule, parameter  # noqa: E402

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "tf32": torch.float32}
rule = load_rule()


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


def block_of(name):
    return "basic" if name in ("resnet18", "resnet34", "resnet20") else "bottleneck"


def build(name, device, dtype="float32"):
    """The network in eval mode, channels last, weights by formula."""
    model = resnet20(10, 1) if name == "resnet20" else getattr(torchvision.models, name)(num_classes=1000)
    block = block_of(name)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                value.copy_(torch.from_numpy(parameter(rule, block, key, list(value.shape))))
    return model.eval().to(device=device, dtype=DTYPES[dtype]).to(memory_format=torch.channels_last)


def formula_images(images, shape):
    return torch.from_numpy(np.stack([input_image(rule, image, shape) for image in range(images)]))


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
