"""Trains the embedded model: a resnet20 (CIFAR kind) on scikit-learn's handwritten digits.

    python scripts/train-digits.py               (needs torch, torchvision, scikit-learn, safetensors, pillow)

Writes models/digits.safetensors (float16), models/samples/*.png and test/fixtures/digits-heldout.{json,bin}. The data
are the 1,797 images of 8x8 pixels, 17 levels, of UCI's "Optical Recognition of Handwritten Digits" test set (Alpaydin and
Kaynak 1998, CC BY 4.0). 360 of them, drawn by SPLIT_SEED and balanced over the digits, are held out: nothing below
looks at them before the last line of training is done.

The network sees dark ink on light paper (1 = white) and, half of the time in training, the inverse, so that both kinds
of picture work. Images are enlarged to 16x16 by bilinear interpolation (the scans hold no more, and a picture of any size comes closest
to them when reduced to that); the preset normalises with mean 0.5, std 0.5.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torchvision.transforms import functional as TF

from cifar_resnet import resnet20

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPLIT_SEED = 20260
TRAIN_SEED = 1
EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 90
SIZE = 16
MEAN, STD = 0.5, 0.5
SAMPLE_SIZE = 128
LABELS = [f"handwritten {digit}" for digit in range(10)]


def split():
    """Ink in [0, 1] as [n, 8, 8], and labels: training, held out."""
    digits = load_digits()
    ink = (digits.images / 16).astype(np.float32)
    return train_test_split(ink, digits.target, test_size=360, random_state=SPLIT_SEED, stratify=digits.target)


def as_bytes(ink):
    """Dark ink on white paper as 8-bit grey levels: what a person sees, and what the package is given."""
    return np.round(255 * (1 - ink)).astype(np.uint8)


def enlarge(gray8, size=SIZE):
    """[n, 8, 8] bytes to [n, 1, size, size] in [0, 1], as an image library's bilinear resize does it."""
    images = [np.asarray(Image.fromarray(image).resize((size, size), Image.BILINEAR)) for image in gray8]
    return torch.from_numpy(np.stack(images)).float().div(255)[:, None]


def augment(batch, generator):
    """Shift, turn, stretch, shear; ink width and contrast; a little blur and noise; half of them inverted."""
    n = len(batch)
    rand = lambda lo, hi: torch.empty(n).uniform_(lo, hi, generator=generator)  # noqa: E731
    angle, shear = torch.deg2rad(rand(-15, 15)), rand(-0.2, 0.2)
    # The scans fill their frame; a picture that somebody draws has a margin.
    zoom, aspect = torch.exp(rand(-0.15, 0.65)), rand(0.85, 1.18)
    zoom_x, zoom_y = zoom * aspect, zoom / aspect
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack([torch.stack([cos * zoom_x, -sin * zoom_y + shear, rand(-0.2, 0.2)], 1),
                         torch.stack([sin * zoom_x, cos * zoom_y, rand(-0.2, 0.2)], 1)], 1)  # fmt: skip
    ink = F.grid_sample(1 - batch, F.affine_grid(theta, batch.shape, align_corners=False), align_corners=False)
    thick = F.max_pool2d(ink, 3, 1, 1)
    thin = -F.max_pool2d(-ink, 3, 1, 1)
    weight = rand(0, 1)[:, None, None, None]
    choice = torch.randint(0, 4, (n, 1, 1, 1), generator=generator)
    ink = torch.where(choice == 0, ink + weight * (thick - ink), ink)
    ink = torch.where(choice == 1, ink + 0.5 * weight * (thin - ink), ink)
    # A steep curve turns the soft strokes of the enlarged scans into the hard ones of a drawing program.
    steep = rand(4, 12)[:, None, None, None]
    hard = torch.sigmoid(steep * (ink - 0.45))
    ink = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.4, hard, ink)
    paper, contrast = rand(0, 0.15)[:, None, None, None], rand(0.6, 1)[:, None, None, None]
    noise = torch.randn(batch.shape, generator=generator) * rand(0, 0.06)[:, None, None, None]
    image = 1 - paper - contrast * (1 - paper) * ink + noise
    inverted = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    return torch.where(inverted, 1 - image, image).clamp(0, 1)


def normalise(images):
    return (images - MEAN) / STD


def train(images, labels):
    torch.manual_seed(TRAIN_SEED)
    generator = torch.Generator().manual_seed(TRAIN_SEED)
    model = resnet20()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    batch_size = 64
    steps = EPOCHS * (len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for epoch in range(EPOCHS):
        order, total = torch.randperm(len(images), generator=generator), 0.0
        for start in range(0, len(images) - batch_size + 1, batch_size):
            index = order[start : start + batch_size]
            loss = F.cross_entropy(model(normalise(augment(images[index], generator))), labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(index)
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: loss {total / len(images):.4f}", flush=True)
    return model.eval()


def round_to_float16(model):
    """The state that is shipped; the model then computes with the rounded values."""
    state = {n: v.to(torch.float16).contiguous() for n, v in model.state_dict().items() if "num_batches" not in n}
    model.load_state_dict({n: v.float() for n, v in state.items()}, strict=False)
    return state


def predict(model, images):
    with torch.no_grad():
        return model(normalise(images))


def correct(model, images, labels):
    return int((predict(model, images).argmax(1) == labels).sum())


def save_model(state):
    preset = {"resize": [SIZE, SIZE], "crop": None, "interpolation": "bilinear", "mean": [MEAN], "std": [STD]}
    metadata = {"resnet.architecture": "resnet20", "resnet.labels": json.dumps(LABELS),
                "resnet.preprocessing": json.dumps(preset)}  # fmt: skip
    save_file(state, ROOT / "models" / "digits.safetensors", metadata)


def save_samples(gray8, labels, logits):
    """One held-out image of each digit, the first in the split, as a picture that a person can look at."""
    folder = ROOT / "models" / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(10):
        first = int(np.flatnonzero(labels == digit)[0])
        picture = Image.fromarray(gray8[first]).resize((SAMPLE_SIZE, SAMPLE_SIZE), Image.BICUBIC)
        picture.save(folder / f"{digit}.png", optimize=True)
        print(f"sample {digit}: held-out image {first}, predicted {int(logits[first].argmax())}")


def save_heldout(gray8, labels, results):
    """The held-out images (8x8 bytes each, dark ink on white) with what PyTorch says about them."""
    base = ROOT / "test" / "fixtures" / "digits-heldout"
    gray8.tofile(base.with_suffix(".bin"))
    rows = {"width": 8, "height": 8, "labels": "".join(map(str, labels)), **results}
    base.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")


def main():
    train_ink, held_ink, train_labels, held_labels = split()
    images, held8 = enlarge(as_bytes(train_ink)), as_bytes(held_ink)
    model = train(images, torch.from_numpy(train_labels))
    state = round_to_float16(model)
    held, labels = enlarge(held8), torch.from_numpy(held_labels)
    logits = predict(model, held)
    results = {
        "predictions": "".join(str(int(p)) for p in logits.argmax(1)),
        "correct": correct(model, held, labels),
        "correctInverted": correct(model, 1 - held, labels),
    }
    print(f"training set {correct(model, images, torch.from_numpy(train_labels))}/{len(images)}")
    print(f"held out {results['correct']}/360, inverted {results['correctInverted']}/360")
    (ROOT / "models").mkdir(exist_ok=True)
    save_model(state)
    save_samples(held8, held_labels, logits)
    save_heldout(held8, held_labels, results)


if __name__ == "__main__":
    main()
