"""Writes test/fixtures/images/: small awkward images, and what torchvision's presets make of them and of photographs.

    python scripts/image-fixtures.py        (needs torchvision, Pillow and scikit-learn, for its photographs)

expected.json holds, per case, the sizes, the mean of every channel of the normalised tensor, and every `step`-th
element of the [C, H, W] tensor as its 8-bit level before normalising, so that differences read in levels of 0..255;
'luma' the same of the luma that a colour JPEG has in itself, which is not what convert('L') makes of it.
For each photograph it also holds the logits that a resnet18 gives (weights by formula.py; base64 of float32).
"""

import base64
import json
import pathlib

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from sklearn import datasets
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from formula import load_rule, parameter

FOLDER = pathlib.Path(__file__).parent.parent / "test" / "fixtures" / "images"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BILINEAR, BICUBIC = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC

# name, resize (shorter side, [h, w] or None), crop, interpolation, channels
PRESETS = [
    ("torchvision-v1", 256, 224, BILINEAR, 3),
    ("torchvision-v2", 232, 224, BILINEAR, 3),
    ("timm", 235, 224, BICUBIC, 3),
    ("squashed", [224, 192], None, BICUBIC, 3),
    ("odd-margins", 256, 223, BILINEAR, 3),
    ("larger-than-the-image", 200, [256, 384], BILINEAR, 3),
    ("enlarged", 600, 224, BICUBIC, 3),
    ("whole", None, None, BILINEAR, 3),
    ("grey", 64, 56, BILINEAR, 1),
    ("whole-grey", None, None, BILINEAR, 1),
]
SMALL_PRESETS = [
    ("small", 64, 56, BILINEAR, 3),
    ("small-grey", 64, 56, BILINEAR, 1),
    ("whole", None, None, BILINEAR, 3),
    ("whole-grey", None, None, BILINEAR, 1),
]
PHOTOGRAPHS = ["flower.jpg", "china.jpg"]


def photographs():
    source = pathlib.Path(datasets.__file__).parent / "images"
    (FOLDER / "flower.jpg").write_bytes((source / "flower.jpg").read_bytes())
    # Chroma subsampled, as most photographs are, and upright, so that both directions are cropped in some case.
    china = Image.open(source / "china.jpg").resize((480, 320), Image.Resampling.LANCZOS)
    china.crop((120, 0, 361, 320)).save(FOLDER / "china.jpg", quality=88, subsampling="4:2:0")
    return PHOTOGRAPHS


def awkward():
    """One image per way in which a file is not 8-bit RGB."""
    china = Image.open(FOLDER / "china.jpg").convert("RGB").resize((80, 106), Image.Resampling.LANCZOS)
    pixels, grey = np.asarray(china), np.asarray(china.convert("L"))
    alpha = np.tile(np.linspace(0, 255, china.width).astype(np.uint8), (china.height, 1))
    frames = [china.quantize(32), Image.new("RGB", china.size, "red").quantize(32)]
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    Image.fromarray(np.dstack([pixels, alpha])).save(FOLDER / "rgba.png")
    Image.fromarray(np.dstack([grey, alpha]), "LA").save(FOLDER / "grey-alpha.png")
    Image.fromarray(grey).save(FOLDER / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 256 + 128).save(FOLDER / "grey16.png")
    china.convert("CMYK").save(FOLDER / "cmyk.jpg", quality=90)
    china.quantize(64).save(FOLDER / "palette-transparent.png", transparency=3)
    frames[0].save(FOLDER / "animated.gif", save_all=True, append_images=frames[1:], duration=100)
    china.save(FOLDER / "orientation-6.jpg", quality=90, exif=exif)
    china.save(FOLDER / "progressive.jpg", quality=90, subsampling="4:2:2", progressive=True)
    china.save(FOLDER / "rgb.jpg", quality=90, keep_rgb=True)
    Image.fromarray(grey).save(FOLDER / "grey.jpg", quality=90)
    names = ["rgba.png", "grey-alpha.png", "grey.png", "grey16.png", "cmyk.jpg"]
    names += ["palette-transparent.png", "animated.gif", "orientation-6.jpg"]
    return [*names, "progressive.jpg", "rgb.jpg", "grey.jpg"]


def as_pil(name, channels):
    image = Image.open(FOLDER / name)
    if image.mode == "I;16":  # convert() would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB" if channels == 3 else "L")


def prepared(file, preset):
    """8-bit levels [C, H, W], the normalised tensor, mean and std."""
    _, resize, crop, interpolation, channels = preset
    stages = []
    if resize is not None:
        stages.append(transforms.Resize(resize, interpolation=interpolation))
    if crop is not None:
        stages.append(transforms.CenterCrop(crop))
    levels = transforms.Compose([*stages, transforms.PILToTensor()])(as_pil(file, channels))
    mean, std = (MEAN, STD) if channels == 3 else ([0.449], [0.226])
    tensor = transforms.Normalize(mean, std)(transforms.ConvertImageDtype(torch.float32)(levels))
    return levels, tensor, mean, std


def luma(file):
    """The grey levels that the decoder gives without converting colours, as a shortcut would take them."""
    image = Image.open(FOLDER / file)
    image.draft("L", image.size)
    return np.asarray(image).flatten()


def described(file, preset):
    name, resize, crop, interpolation, _ = preset
    return {"image": file, "preset": name, "resize": resize, "crop": crop, "interpolation": interpolation.value}


def case(file, preset):
    levels, tensor, mean, std = prepared(file, preset)
    step = max(1, levels.numel() // 1200) | 1
    shortcut = {}
    if preset[0] == "whole-grey" and file in PHOTOGRAPHS:
        shortcut = {"luma": luma(file)[::step].tolist()}
        assert shortcut["luma"] != levels.flatten()[::step].tolist(), "the fixture cannot tell the shortcut"
    return {
        **described(file, preset),
        "mean": mean,
        "std": std,
        "height": levels.shape[1],
        "width": levels.shape[2],
        "channelMeans": [round(value, 6) for value in tensor.double().mean((1, 2)).tolist()],
        "step": step,
        "levels": levels.flatten()[::step].tolist(),
        **shortcut,
    }


def formula_network():
    rule, network = load_rule(), torchvision.models.resnet18().eval()
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(torch.from_numpy(parameter(rule, "basic", name, list(tensor.shape))))
    return network


@torch.inference_mode()
def logits(network, file, preset):
    _, tensor, mean, std = prepared(file, preset)
    answer = network(tensor[None])[0].numpy().astype("<f4")
    return {**described(file, preset), "mean": mean, "std": std, "logits": base64.b64encode(answer.tobytes()).decode()}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    photos = photographs()
    cases = [case(file, preset) for file in photos for preset in PRESETS]
    cases += [case(file, preset) for file in awkward() for preset in SMALL_PRESETS]
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "pillow": PIL.__version__}
    network = formula_network()
    answers = [logits(network, file, preset) for file in photos for preset in PRESETS[:3]]
    lines = lambda rows: ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (FOLDER / "expected.json").write_text(
        f'{{"versions":{json.dumps(versions)},"cases":[\n{lines(cases)}\n],"logits":[\n{lines(answers)}\n]}}\n'
    )


main()
