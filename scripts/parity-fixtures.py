"""Writes test/fixtures/parity: PyTorch's answers for every architecture, and for single operations.

    python scripts/parity-fixtures.py            (needs torch and torchvision)

The reference is PyTorch's float32 in eager mode; its own distance to float64 is recorded beside it. Weights and images
are formulas (formula.py), so only sampled answers are stored:
  networks.json  a row per architecture, options and input size, with the place of each tensor in networks.bin
  networks.bin   float32, little endian
  ops.json       rows of single operations, data in base64
Errors are to be taken relative to `max`, the maximum of |reference| over the whole batch, unsampled.
"""

import base64
import json
import sys

import numpy as np
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from cifar_resnet import resnet20
from formula import FIXTURES, formula, input_image, load_rule, parameter, sample_positions
from torch_ops import apply, block_module

IMAGES = 8
SIZES = [(224, 224), (97, 97), (64, 160)]
ARCHITECTURES = [
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
    "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
]  # fmt: skip
FEATURE_IMAGES = [0, 7]
EMBEDDING_SAMPLES = 128
FEATURE_SAMPLES = 256
FEATURE_PARTS = {"relu": "stem", "layer1": "layer1", "layer2": "layer2", "layer3": "layer3", "layer4": "layer4"}

rule = load_rule()



def network(case):
    name = case["architecture"]
    if name == "resnet20":
        return resnet20(case["numClasses"], case["inChannels"]), "basic"
    if name:
        stride8, stride16 = case["outputStride"] == 8, case["outputStride"] == 16
        model = getattr(torchvision.models, name)(
            num_classes=case["numClasses"], replace_stride_with_dilation=[False, stride8, stride8 or stride16]
        )
        return model, "basic" if name in ("resnet18", "resnet34") else "bottleneck"
    model = ResNet(Bottleneck if case["block"] == "bottleneck" else BasicBlock, case["depths"],
                   num_classes=case["numClasses"] or 1)  # fmt: skip
    model.conv1 = torch.nn.Conv2d(case["inChannels"], 64, 7, 2, 3, bias=False)
    if not case["numClasses"]:
        model.fc = torch.nn.Identity()
    return model, case["block"]


def fill(model, block):
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                value.copy_(torch.from_numpy(parameter(rule, block, name, list(value.shape))))
    return model.eval()


def run(model, x):
    """Every output that the fixtures sample, by public name."""
    seen = {}
    hooks = [model.avgpool.register_forward_hook(lambda _m, _i, out: seen.update(embedding=out.flatten(1)))]
    for part, public in FEATURE_PARTS.items():
        if hasattr(model, part):
            hooks.append(getattr(model, part).register_forward_hook(
                lambda _m, _i, out, public=public: seen.update({public: out.clone()})))  # fmt: skip
    with torch.no_grad():
        logits = model(x)
    for hook in hooks:
        hook.remove()
    return {"logits": logits, **seen}


class Blob:
    def __init__(self):
        self.parts, self.count = [], 0

    def add(self, array):
        begin = self.count
        self.parts.append(np.ascontiguousarray(array, dtype="<f4"))
        self.count += array.size
        return begin


def stored_tensor(blob, name, values, exact):
    reference = values.numpy()
    maximum = float(np.abs(reference).max())
    images = FEATURE_IMAGES if values.ndim == 4 else list(range(len(reference)))
    per_image = reference[0].size
    limit = {"logits": per_image, "embedding": EMBEDDING_SAMPLES}.get(name, FEATURE_SAMPLES)
    positions = sample_positions(rule, per_image, limit)
    sampled = np.stack([reference[image].reshape(-1)[positions] for image in images])
    return {
        "name": name,
        "shape": list(reference.shape[1:]),
        "images": images,
        "samples": len(positions),
        "begin": blob.add(sampled),
        "max": maximum,
        "float32Error": float(np.abs(reference - exact.numpy()).max() / maximum),
    }


def network_row(blob, case):
    model, block = network(case)
    fill(model, block)
    shape = (case["inChannels"], case["height"], case["width"])
    x = torch.from_numpy(np.stack([input_image(rule, image, shape) for image in range(IMAGES)]))
    reference = run(model, x)
    exact = run(model.double(), x.double())
    if not case["numClasses"]:
        del reference["logits"]
    tensors = [stored_tensor(blob, name, value, exact[name]) for name, value in reference.items()]
    worst = max(tensor["float32Error"] for tensor in tensors)
    print(f"{case['name']:40} float32 against float64: {worst:.1e}", flush=True)
    return {**case, "block": block, "tensors": tensors}


def network_cases():
    base = {"outputStride": 32, "inChannels": 3, "numClasses": 1000}
    for architecture in ARCHITECTURES:
        for height, width in SIZES:
            yield {"name": f"{architecture} {height}x{width}", "architecture": architecture, **base,
                   "height": height, "width": width}  # fmt: skip
    for stride in (8, 16):
        yield {"name": f"resnet50 65x65 outputStride {stride}", "architecture": "resnet50", **base,
               "outputStride": stride, "height": 65, "width": 65}  # fmt: skip
    own = {"architecture": None, "block": "bottleneck", "outputStride": 32, "inChannels": 1, "height": 49, "width": 71}
    yield {"name": "bottleneck 1-2-1-1 7 classes", **own, "depths": [1, 2, 1, 1], "numClasses": 7}
    yield {"name": "bottleneck 1-2-1-1 no head", **own, "depths": [1, 2, 1, 1], "numClasses": 0}
    yield {"name": "resnet20 32x32", "architecture": "resnet20", **base, "inChannels": 1, "numClasses": 10,
           "height": 32, "width": 32}  # fmt: skip


def conv_case(name, x, weight, bias=True, **options):
    k = weight[0]
    return {"name": f"conv2d {name}", "op": "conv2d", "x": x, "parameters": {"weight": weight, **({"bias": [k]} if bias else {})}, "options": options}  # fmt: skip


def pool_case(op, name, x, **options):
    return {"name": f"{op} {name}", "op": op, "x": x, "parameters": {}, "options": options}


def op_cases():
    yield conv_case("3x3", [2, 5, 9, 11], [7, 5, 3, 3], padding=1)
    yield conv_case("3x3 no bias", [2, 5, 9, 11], [7, 5, 3, 3], bias=False)
    yield conv_case("3x3 stride 2", [1, 16, 13, 10], [33, 16, 3, 3], stride=2, padding=1)
    yield conv_case("3x3 stride 1x2 padding 0x2", [1, 4, 9, 9], [6, 4, 3, 3], stride=[1, 2], padding=[0, 2])
    yield conv_case("3x3 dilation 2", [1, 8, 12, 12], [8, 8, 3, 3], padding=2, dilation=2)
    yield conv_case("3x3 dilation 1x3", [1, 8, 9, 14], [8, 8, 3, 3], padding=[1, 3], dilation=[1, 3])
    yield conv_case("1x1", [3, 17, 5, 6], [31, 17, 1, 1])
    yield conv_case("1x1 stride 2", [1, 32, 7, 7], [48, 32, 1, 1], stride=2)
    yield conv_case("7x7 stride 2 padding 3", [1, 3, 29, 31], [16, 3, 7, 7], stride=2, padding=3)
    yield conv_case("5x3", [1, 3, 9, 8], [4, 3, 5, 3], padding=[2, 1])
    yield conv_case("2x2 even", [1, 3, 7, 7], [4, 3, 2, 2])
    yield conv_case("groups 4", [2, 16, 8, 8], [24, 4, 3, 3], padding=1, groups=4)
    yield conv_case("depthwise stride 2", [1, 12, 9, 9], [12, 1, 3, 3], stride=2, padding=1, groups=12)
    yield conv_case("kernel of the image's size", [1, 6, 5, 4], [9, 6, 5, 4])
    yield conv_case("padding wider than the image", [1, 2, 1, 2], [3, 2, 3, 3], padding=3)
    yield pool_case("maxPool2d", "3x3 stride 2 padding 1", [2, 5, 11, 12], kernel=3, stride=2, padding=1)
    yield pool_case("maxPool2d", "2x3 stride 3x2", [1, 3, 10, 9], kernel=[2, 3], stride=[3, 2])
    yield pool_case("maxPool2d", "default stride", [1, 3, 9, 9], kernel=3)
    yield pool_case("maxPool2d", "ceilMode", [1, 3, 10, 8], kernel=3, stride=2, ceilMode=True)
    yield pool_case("maxPool2d", "ceilMode, last window out of range", [1, 2, 6, 6], kernel=2, stride=3, padding=1, ceilMode=True)  # fmt: skip
    yield pool_case("maxPool2d", "dilation 2", [1, 3, 11, 11], kernel=3, stride=1, padding=1, dilation=2)
    yield pool_case("avgPool2d", "2x2", [2, 5, 8, 9], kernel=2)
    yield pool_case("avgPool2d", "3x3 stride 2 padding 1", [1, 3, 9, 10], kernel=3, stride=2, padding=1)
    yield pool_case("avgPool2d", "padding not counted", [1, 3, 9, 10], kernel=3, stride=2, padding=1, countIncludePad=False)  # fmt: skip
    yield pool_case("avgPool2d", "ceilMode", [1, 3, 10, 8], kernel=3, stride=2, padding=1, ceilMode=True)
    yield pool_case("avgPool2d", "ceilMode, padding not counted", [1, 3, 10, 8], kernel=3, stride=2, padding=1, ceilMode=True, countIncludePad=False)  # fmt: skip
    yield pool_case("globalAvgPool2d", "", [2, 19, 5, 7])
    for eps in (1e-5, 1e-3):
        yield {"name": f"batchNorm eps {eps}", "op": "batchNorm", "x": [2, 13, 5, 4], "options": {"eps": eps},
               "parameters": {"weight": [13], "bias": [13], "running_mean": [13], "running_var": [13]}}  # fmt: skip
    yield {"name": "batchNorm without weight and bias", "op": "batchNorm", "x": [1, 6, 3, 3], "options": {},
           "parameters": {"running_mean": [6], "running_var": [6]}}  # fmt: skip
    yield {"name": "relu", "op": "relu", "x": [2, 3, 4, 5], "parameters": {}, "options": {}}
    yield {"name": "add", "op": "add", "x": [2, 3, 4, 5], "parameters": {"y": [2, 3, 4, 5]}, "options": {}}
    yield {"name": "linear", "op": "linear", "x": [3, 37], "parameters": {"weight": [21, 37], "bias": [21]}, "options": {}}  # fmt: skip
    yield {"name": "linear no bias", "op": "linear", "x": [1, 64], "parameters": {"weight": [10, 64]}, "options": {}}
    yield {"name": "softmax", "op": "softmax", "x": [3, 17], "parameters": {}, "options": {}}
    yield {"name": "softmax of large values", "op": "softmax", "x": [2, 9], "parameters": {}, "options": {}, "scale": 100}
    yield {"name": "topK", "op": "topK", "x": [3, 50], "parameters": {}, "options": {"k": 5}}
    yield {"name": "topK of all", "op": "topK", "x": [1, 6], "parameters": {}, "options": {"k": 6}}
    for stride, planes, channels in ((1, 8, 8), (2, 16, 8)):
        yield block_case("basicBlock", channels, planes, stride)
    for stride, planes, channels, groups, dilation in ((1, 4, 16, 1, 1), (2, 8, 16, 1, 1), (1, 8, 32, 4, 2)):
        yield block_case("bottleneck", channels, planes, stride, groups, dilation)


def block_case(op, channels, planes, stride, groups=1, dilation=1):
    options = {"stride": stride, "groups": groups, "dilation": dilation}
    options = {key: value for key, value in options.items() if value != 1}
    case = {"name": f"{op} {channels}-{planes} stride {stride} groups {groups} dilation {dilation}", "op": op,
            "x": [2, channels, 9, 8], "options": options}  # fmt: skip
    state = block_module(op, channels, planes, options).state_dict()
    case["parameters"] = {n: list(v.shape) for n, v in state.items() if not n.endswith("num_batches_tracked")}
    return case


def op_parameter_range(name):
    if name.endswith("running_var"):
        return 0.02, 0.6
    return (0.5, 1.5) if name.split(".")[-2:-1] in (["bn1"], ["bn2"], ["bn3"]) and name.endswith("weight") else (-1, 1)


def op_row(case):
    seed, name = rule["seed"], case["name"]
    scale = case.pop("scale", 2)
    x = torch.from_numpy(formula(seed, f"{name}:x", case["x"], -scale, scale))
    ranges = {p: op_parameter_range(p) for p in case["parameters"]}
    p = {n: torch.from_numpy(formula(seed, f"{name}:{n}", shape, *ranges[n])) for n, shape in case["parameters"].items()}
    row = {"name": name, "op": case["op"], "x": {"shape": case["x"], "lo": -scale, "hi": scale}, "options": case["options"],
           "parameters": [{"name": n, "shape": s, "lo": ranges[n][0], "hi": ranges[n][1]} for n, s in case["parameters"].items()]}  # fmt: skip
    if case["op"] == "topK":
        scores, indices = torch.topk(x, case["options"]["k"], dim=1)
        return {**row, "shape": list(scores.shape), "indices": indices.flatten().tolist(), **stored_op(scores)}
    with torch.no_grad():
        y = apply(case["op"], case["options"], x, p)
    return {**row, "shape": list(y.shape), **stored_op(y)}


def stored_op(y):
    array = np.ascontiguousarray(y.numpy(), dtype="<f4")
    return {"max": float(np.abs(array).max()), "data": base64.b64encode(array.tobytes()).decode()}


def write_rows(path, head, rows):
    lines = ",\n".join("    " + json.dumps(row) for row in rows)
    path.write_text(f'{{\n{head}  "rows": [\n{lines}\n  ]\n}}\n')


def main():
    only = sys.argv[1:]
    versions = f'  "torch": "{torch.__version__.split("+")[0]}", "torchvision": "{torchvision.__version__.split("+")[0]}",\n'
    write_rows(FIXTURES / "ops.json", versions, [op_row(case) for case in op_cases()])
    if only == ["ops"]:
        return
    blob = Blob()
    rows = [network_row(blob, case) for case in network_cases()]
    write_rows(FIXTURES / "networks.json", f'{versions}  "images": {IMAGES},\n', rows)
    np.concatenate([part.reshape(-1) for part in blob.parts]).tofile(FIXTURES / "networks.bin")


main()
