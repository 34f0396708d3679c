"""Writes test/fixtures/names.json: what checkpoints of the three libraries list, as the libraries themselves name it.

    python scripts/name-fixtures.py            (needs torch, torchvision, timm and transformers)
"""

import json
import pathlib

import timm
import torchvision
import transformers
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures" / "names.json"
BASIC = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}


def rows():
    yield "torchvision", "resnet18", 1000, torchvision.models.resnet18()
    yield "torchvision", "resnext50_32x4d", 7, torchvision.models.resnext50_32x4d(num_classes=7)
    yield "timm", "resnet34", 10, timm.create_model("resnet34", num_classes=10)
    yield "timm", "wide_resnet50_2", 0, timm.create_model("wide_resnet50_2", num_classes=0)
    yield "transformers", "resnet18", 5, ResNetForImageClassification(ResNetConfig(num_labels=5, **BASIC))
    yield "transformers", "resnet50", 1000, ResNetForImageClassification(ResNetConfig(num_labels=1000))
    yield "transformers", "resnet50", 0, ResNetModel(ResNetConfig())


def main():
    versions = {"torchvision": torchvision.__version__.split("+")[0], "timm": timm.__version__,
                "transformers": transformers.__version__}  # fmt: skip
    lines = []
    for library, architecture, classes, model in rows():
        dtypes = {"torch.float32": "F32", "torch.int64": "I64"}
        tensors = [[name, dtypes[str(value.dtype)], list(value.shape)] for name, value in model.state_dict().items()]
        row = {"library": library, "architecture": architecture, "numClasses": classes, "tensors": tensors}
        lines.append(json.dumps(row, separators=(",", ":")))
    body = ",\n".join(lines)
    OUTPUT.write_text(f'{{"versions":{json.dumps(versions)},"rows":[\n{body}\n]}}\n')


main()
