"""PyTorch's answers on this device, for networks.mjs and operations.mjs: in float32 without TF32, and in the dtypes that ours are
in, whose own distance from float32 says what may be expected; and wrong ones, of a network with one weight changed, which the
comparison must refuse. Of networks a file of float32 in the scratch folder for each case of networks.json and dtype."""

import copy
import json
import pathlib

import torch

import torch_network as tn
from torch_network import arguments, device_of, report
from torch_operations import write_answers

IMAGES = {"full": 8, "quick": 8, "dry": 2}


def cases(mode):
    """The cases of networks.json that a mode has, each with the name of its files and its images' size."""
    rows = json.loads((pathlib.Path(__file__).parent / "networks.json").read_text())["cases"]
    wanted = {"full": lambda row: True, "quick": lambda row: row["quick"], "dry": lambda row: "drySize" in row}[mode]
    for i, row in enumerate(rows):
        if wanted(row):
            yield {**row, "file": f"{row['network']}-{i}", "size": row["drySize"] if mode == "dry" else row["size"]}


def change_one_weight(model):
    """In place, in the first convolution: 64 times as large as any that it has."""
    with torch.no_grad():
        weight = model.conv1.weight
        weight[0, 0, 0, 0] = 64 * weight.abs().max()


def write_networks(folder, device, mode):
    for case in cases(mode):
        x = tn.formula_images(IMAGES[mode], (3, *case["size"])).to(device).to(memory_format=torch.channels_last)
        model = tn.build(case["network"], device, narrow=mode == "dry", output_stride=case.get("outputStride", 32))
        models = {"float32": model, **{dtype: copy.deepcopy(model).to(tn.DTYPES[dtype]) for dtype in case["dtypes"]}}
        models["wrong"] = copy.deepcopy(model)
        change_one_weight(models["wrong"])
        with torch.inference_mode():
            for name, one in models.items():
                logits = one(x.to(one.conv1.weight.dtype)).float().cpu().numpy()
                logits.astype("<f4").tofile(folder / f"{case['file']}-{name}.bin")


def main():
    mode = arguments().mode
    device = device_of(mode)
    folder = pathlib.Path(arguments().scratch) / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    tn.set_precision("float32")
    write_networks(folder, device, mode)
    operations = 0 if mode == "quick" else write_answers(folder, device)
    report("note", text=f"reference: PyTorch {torch.__version__} on {device}, {operations} answers to single operations")


main()
