"""PyTorch's answer to a single operation, as test/fixtures/parity/ops.json and bench/gpu/operations.json describe one."""

import torch
import torch.nn.functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

BLOCKS = {"basicBlock": BasicBlock, "bottleneck": Bottleneck}


def block_module(op, channels, planes, options):
    """A residual block in eval mode, with a projection where the shape changes."""
    kind, stride = BLOCKS[op], options.get("stride", 1)
    shortcut = None
    if stride != 1 or channels != planes * kind.expansion:
        shortcut = torch.nn.Sequential(torch.nn.Conv2d(channels, planes * kind.expansion, 1, stride, bias=False),
                                       torch.nn.BatchNorm2d(planes * kind.expansion))  # fmt: skip
    return kind(channels, planes, stride, shortcut, options.get("groups", 1), 64, options.get("dilation", 1)).eval()


def block_with(op, options, channels, p):
    last = p["conv3.weight" if op == "bottleneck" else "conv2.weight"]
    module = block_module(op, channels, last.shape[0] // BLOCKS[op].expansion, options)
    module.load_state_dict(p, strict=False)
    return module.to(last.device, last.dtype)


def pool_options(options):
    names = {"kernel": "kernel_size", "ceilMode": "ceil_mode", "countIncludePad": "count_include_pad"}
    return {names.get(key, key): value for key, value in options.items()}


def apply(op, options, x, p):
    """x [N, C, H, W] or [N, D] and parameters by name; of topK the scores."""
    if op == "conv2d":
        return F.conv2d(x, p["weight"], p.get("bias"), **options)
    if op in ("maxPool2d", "avgPool2d"):
        return (F.max_pool2d if op == "maxPool2d" else F.avg_pool2d)(x, **pool_options(options))
    if op == "globalAvgPool2d":
        return x.mean((2, 3))
    if op == "batchNorm":
        return F.batch_norm(x, p["running_mean"], p["running_var"], p.get("weight"), p.get("bias"), **options)
    if op == "relu":
        return F.relu(x)
    if op == "add":
        return x + p["y"]
    if op == "linear":
        return F.linear(x, p["weight"], p.get("bias"))
    if op == "softmax":
        return F.softmax(x, 1)
    if op == "topK":
        return torch.topk(x, options["k"], dim=1).values
    return block_with(op, options, x.shape[1], p)(x)
