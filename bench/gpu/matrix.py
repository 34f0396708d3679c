"""Rates of large matrix products through PyTorch, which asks cuBLASLt: the arithmetic ceiling of every dtype. Random data: on
zeros a GPU draws less power and runs faster. Time with device events, medians."""

import statistics
import sys

import torch

from torch_network import arguments, device_of, report, synchronize

mode = arguments().mode
device = device_of(mode)
N = 64 if mode == "dry" else 8192
REPEATS = {"full": 20, "quick": 10, "dry": 2}[mode]


def milliseconds(call):
    times = []
    for i in range(REPEATS + 3):
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            call()
            end.record()
            end.synchronize()
            taken = begin.elapsed_time(end)
        else:
            call()
            taken = float("nan")
        if i >= 3:
            times.append(taken)
    return statistics.median(times)


def random(dtype):
    return torch.randn(N, N, device=device).to(dtype)


def product(dtype):
    a, b = random(dtype), random(dtype)
    out = torch.empty(N, N, dtype=dtype, device=device)
    return lambda: torch.mm(a, b, out=out)


def tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return product(torch.float32)


def int8():
    a, b = (torch.randint(-127, 128, (N, N), dtype=torch.int8, device=device) for _ in range(2))
    b = b.t().contiguous().t()  # cuBLASLt takes the second operand column by column
    return lambda: torch._int_mm(a, b)


def float8():
    a, b = random(torch.float8_e4m3fn), random(torch.float8_e4m3fn).t().contiguous().t()
    one = torch.ones((), device=device)
    return lambda: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True)


CASES = {
    "float16": (lambda: product(torch.float16), "TFLOP/s"),
    "bfloat16": (lambda: product(torch.bfloat16), "TFLOP/s"),
    "tf32": (lambda: tf32(True), "TFLOP/s"),
    "float32": (lambda: tf32(False), "TFLOP/s"),
    "int8": (int8, "TOP/s"),
    "float8_e4m3": (float8, "TFLOP/s"),
}
for name, (prepare, unit) in CASES.items():
    if mode == "quick" and name == "float32":
        continue
    try:
        taken = milliseconds(prepare())
        synchronize(device)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        report("note", text=f"matrix {name}: not on this device: {str(error).splitlines()[0][:200]}")
        continue
    if mode == "dry":
        report("note", text=f"rehearsed: matrix {name}")
    else:
        report("ceiling", name=f"matrix {name}", value=2 * N**3 / taken / 1e9, unit=unit, detail=f"{N}x{N}x{N}, random data")
sys.exit(0)
