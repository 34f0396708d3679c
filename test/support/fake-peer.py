"""A peer without a library: its networks take some milliseconds a call and answer with the bias of the checkpoint's head."""

import array
import importlib.metadata
import json
import os
import pathlib
import struct
import sys
import time

root = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(root / "lib" / "bench" / "drivers"))
from peer_process import serve  # noqa: E402


def bias(checkpoint):
    data = pathlib.Path(checkpoint).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    begin, end = json.loads(data[8 : 8 + length])["fc.bias"]["data_offsets"]
    return data[8 + length + begin : 8 + length + end]


def load(trial, images):
    network = trial["network"]
    print("a library that prints")
    os.write(1, b"and one that does so below Python\n")
    logits = bias(network["checkpoint"]) if "checkpoint" in network else struct.pack("<f", 1)

    def bind(data, shape):
        assert shape[0] == images and len(data) == 4 * images * shape[1] * shape[2] * shape[3]

        def call():
            time.sleep(0.005)
            return array.array("f", logits * images)

        return call

    return "1.0", {"images": images}, bind


def fail(trial, images):
    raise ValueError("cannot be had")


def die(trial, images):
    os.write(2, b"the peer's last words\n")
    os._exit(7)


def wrong(trial, images):
    version, settings, _ = load(trial, images)
    return version, settings, lambda data, shape: lambda: array.array("f", [-1.0, 0.0, 1.0] * images)


installed = {"torch": "1.0", "torchvision": "1.0", "safetensors": "1.0"}


def version(package):
    if package in installed:
        return installed[package]
    raise importlib.metadata.PackageNotFoundError(package)


importlib.metadata.version = version
serve({"torch": load, "torch-compile": wrong, "fails": fail, "dies": die})
