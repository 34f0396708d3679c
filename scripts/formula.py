"""Weights and inputs by formula: the generator of native/core/weights.h, bit for bit, and the ranges of rule.json.

Element i of tensor `name` is lo + (hi - lo) * u in float32, a rounding after each operation, where
  u = (finalise(state + (i + 1) * GAMMA) >> 40) * 2^-24,  state = splitmix64(seed) ^ fnv1a64(name)
and splitmix64(x) = finalise(x + GAMMA) (Steele, Lea & Flood 2014).
"""

import json
import math
import pathlib
import re

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures" / "parity"


def finalise(z):
    """Steele's finaliser over a uint64 array."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def formula(seed, name, shape, lo, hi):
    """The tensor `name` as a float32 array of `shape`, uniform in [lo, hi)."""
    start = int(finalise(np.array([(seed + GAMMA) & MASK], dtype=np.uint64))[0]) ^ fnv1a64(name)
    count = math.prod(shape)
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA) + np.uint64(start)
        bits = finalise(z) >> np.uint64(40)
    u = bits.astype(np.float32) * np.float32(2.0**-24)
    lo, hi = np.float32(lo), np.float32(hi)
    return (lo + (hi - lo) * u).astype(np.float32).reshape(shape)


def load_rule():
    return json.loads((FIXTURES / "rule.json").read_text())


def parameter_range(rule, block, name, shape):
    """[lo, hi] that the rule gives to a parameter of a network made of `block` ('basic' or 'bottleneck')."""
    for row in rule["parameters"]:
        pattern = row["name"].replace("{lastNorm}", rule["lastNorm"][block])
        if row["rank"] != len(shape) or not re.search(pattern, name):
            continue
        divisor = math.sqrt(math.prod(shape[1:])) if row.get("perRootFanIn") else 1
        return row["lo"] / divisor, row["hi"] / divisor
    raise ValueError(f"no rule for parameter {name} of shape {list(shape)}")


def parameter(rule, block, name, shape):
    return formula(rule["seed"], name, shape, *parameter_range(rule, block, name, shape))


def input_image(rule, image, shape):
    """Image number `image`, [C, H, W]."""
    row = rule["inputs"]
    return formula(rule["seed"], row["name"].replace("{image}", str(image)), shape, row["lo"], row["hi"])


def sample_positions(rule, total, count):
    """Flat positions of `count` elements spread over a tensor of `total`; all of them when there are no more."""
    if total <= count:
        return np.arange(total)
    return (np.arange(count, dtype=np.int64) * rule["samples"]["multiplier"]) % total
