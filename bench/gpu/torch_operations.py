"""PyTorch's answers to single operations on this device, for operations.mjs. For each row and dtype:

reference  in float32 without TF32, of inputs rounded to the dtype
wrong      the same with one weight or, where there is none, one input changed: the control, which must be refused
peer       PyTorch's own in that dtype; left out for float32
input      of topK, x rounded to the dtype

Parameters are rounded too, save those of norms and blocks: a norm is folded into weights before they are rounded.
"""

import json

import torch
import torch.nn.functional as F

import formula
import torch_network as tn
from torch_ops import apply

OWN = "bench/gpu/operations.json"
FOLDED = ("batchNorm", "basicBlock", "bottleneck")
DTYPES = ["float32", "float16", "bfloat16"]


def rows():
    own = formula.FIXTURES.parents[2] / OWN
    return [row for path in (formula.FIXTURES / "ops.json", own) for row in json.loads(path.read_text())["rows"]]


def tensors(row, device):
    make = lambda name, t: tn.formula_on(device, f"{row['name']}:{name}", t["shape"], t["lo"], t["hi"])  # noqa: E731
    x = make("x", row["x"])
    parameters = {t["name"]: make(t["name"], t) for t in row["parameters"]}
    return x, parameters, make("residual", row["residual"]) if "residual" in row else None


def images(tensor):
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def answer(row, x, parameters, residual):
    y = apply(row["op"], row["options"], images(x), parameters)
    if residual is not None:
        y = y + residual
    return F.relu(y) if row.get("relu") else y


def changed(row, x, parameters):
    """The first weight eight times as large as any, or the first input twice as large as any."""
    if not parameters:
        x = x.clone()
        x.view(-1)[0] = 2 * row["x"]["hi"]
        return x, parameters
    first = row["parameters"][0]
    wrong = parameters[first["name"]].clone()
    wrong.view(-1)[0] = 8 * first["hi"]
    return x, {**parameters, first["name"]: wrong}


def answers(row, dtype, device):
    to = tn.DTYPES[dtype]
    rounded = lambda t: None if t is None else t.to(to).float()  # noqa: E731
    x, parameters, residual = tensors(row, device)
    x, residual = rounded(x), rounded(residual)
    exact = parameters if row["op"] in FOLDED else {name: rounded(t) for name, t in parameters.items()}
    found = {"reference": answer(row, x, exact, residual), "wrong": answer(row, *changed(row, x, exact), residual)}
    if row["op"] == "topK":
        found["input"] = x
    if dtype != "float32":
        lower = {name: t.to(to) for name, t in parameters.items()}
        try:
            found["peer"] = answer(row, x.to(to), lower, None if residual is None else residual.to(to))
        except (RuntimeError, NotImplementedError):
            # PyTorch on a rehearsal's processor has not every operation in half precision.
            if device.type == "cuda":
                raise
    return found


def write_answers(folder, device):
    """operations.json, an index, and operations.bin: float32, in NCHW order. Returns how many answers there are."""
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    tn.set_precision("float32")
    index, begin = [], 0
    with open(folder / "operations.bin", "wb") as out, torch.inference_mode():
        for row in rows():
            for dtype in DTYPES:
                entry = {"name": row["name"], "dtype": dtype}
                for part, value in answers(row, dtype, device).items():
                    array = value.float().contiguous().cpu().numpy().astype("<f4")
                    out.write(array.tobytes())
                    entry[part] = [begin, array.size]
                    begin += array.size
                index.append(entry)
    (folder / "operations.json").write_text(json.dumps(index))
    return len(index)
