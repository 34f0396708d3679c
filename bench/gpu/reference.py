"""PyTorch's logits on this device, for networks.mjs: in float32 without TF32, and in the dtypes that ours are in, whose own
distance from float32 says what may be expected. Files of float32 in the scratch folder, one a network and dtype."""

import pathlib

import torch

import torch_network as tn
from torch_network import arguments, device_of, report

NETWORKS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
            "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"]  # fmt: skip
FEW = ["resnet18", "resnet50"]
IMAGES = {"full": 8, "quick": 8, "dry": 2}


def main():
    options = arguments()
    device = device_of(options.mode)
    folder = pathlib.Path(options.scratch) / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    size = 32 if options.mode == "dry" else 224
    x = tn.formula_images(IMAGES[options.mode], (3, size, size)).to(device).to(memory_format=torch.channels_last)
    tn.set_precision("float32")
    for name in NETWORKS if options.mode == "full" else FEW:
        others = ["float16", "bfloat16"] if name in FEW else ["float16"]
        model = tn.build(name, device, narrow=options.mode == "dry")
        with torch.inference_mode():
            for dtype in ["float32", *others]:
                logits = model.to(tn.DTYPES[dtype])(x.to(tn.DTYPES[dtype])).float().cpu().numpy()
                logits.astype("<f4").tofile(folder / f"{name}-{dtype}.bin")
        del model
    report("note", text=f"reference: PyTorch {torch.__version__} on {device}")


main()
