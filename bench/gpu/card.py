"""The card: name, multiprocessors, clocks, power, driver, and the description that cuDNN makes of it, by which its
heuristics can be asked without the card (test/cuda/devices)."""

import ctypes
import json
import platform
import shutil
import subprocess
import sys

import torch

from torch_network import arguments, report

DEVICEPROP, DEVICE_ID, REPRESENTATION = 38, 2700, 2702  # cudnn_graph.h, 9.8
INT32, CHAR = 23, 24
QUERIES = [
    "name", "driver_version", "vbios_version", "pci.bus_id", "pstate", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem",
    "power.draw", "power.limit", "temperature.gpu", "memory.total", "memory.used", "ecc.mode.current", "mig.mode.current",
    "compute_mode", "clocks_event_reasons.active",
]  # fmt: skip


def nvidia_smi():
    if shutil.which("nvidia-smi") is None:
        return {}
    def ask(names):
        command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(names)}", "--format=csv,noheader"]
        run = subprocess.run(command, capture_output=True, text=True)
        return dict(zip(names, (field.strip() for field in run.stdout.split(",")))) if run.returncode == 0 else {}

    # A name that this driver does not know spoils a whole query.
    return ask(QUERIES) or {name: value for query in QUERIES for name, value in ask([query]).items()}


def check(status, what):
    if status != 0:
        raise RuntimeError(f"{what}: cuDNN status {status}")


def cudnn_description(index):
    """What cuDNN calls a device property descriptor, as JSON."""
    torch.backends.cudnn.version()  # loads the library that PyTorch uses
    torch.nn.functional.conv2d(torch.zeros(1, 8, 8, 8, device="cuda"), torch.zeros(8, 8, 3, 3, device="cuda"))
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if "libcudnn" in line}
    path = next((p for p in sorted(paths) if "libcudnn_graph.so" in p), None) or next(p for p in sorted(paths) if "libcudnn.so" in p)
    cudnn = ctypes.CDLL(path)
    descriptor, device, count = ctypes.c_void_p(), ctypes.c_int32(index), ctypes.c_int64()
    check(cudnn.cudnnBackendCreateDescriptor(DEVICEPROP, ctypes.byref(descriptor)), "creating")
    check(cudnn.cudnnBackendSetAttribute(descriptor, DEVICE_ID, INT32, ctypes.c_int64(1), ctypes.byref(device)), "the device")
    check(cudnn.cudnnBackendFinalize(descriptor), "finalising")
    if cudnn.cudnnBackendGetAttribute(descriptor, REPRESENTATION, CHAR, ctypes.c_int64(0), ctypes.byref(count), None) != 0:
        count.value = 1 << 16
    text = ctypes.create_string_buffer(count.value + 1)
    check(cudnn.cudnnBackendGetAttribute(descriptor, REPRESENTATION, CHAR, ctypes.c_int64(count.value), ctypes.byref(count), text), "reading")
    return json.loads(text.value.decode())


def main():
    mode = arguments().mode
    host = {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "cuda": torch.version.cuda,
            "kernel": platform.release(), "python": platform.python_version()}  # fmt: skip
    try:
        with open("/proc/cpuinfo") as info:
            lines = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
        host |= {"cpu": lines[0], "cpus": len(lines)}
    except (OSError, IndexError):
        pass
    if mode == "dry":
        report("card", name="simulated", host=host)
        return
    p = torch.cuda.get_device_properties(0)
    report("card", name=p.name, capability=f"{p.major}.{p.minor}", multiprocessors=p.multi_processor_count,
           memoryBytes=p.total_memory, l2Bytes=getattr(p, "L2_cache_size", None), nvidiaSmi=nvidia_smi(), host=host)  # fmt: skip
    try:
        report("card", cudnnDevice=cudnn_description(0))
    except Exception as error:  # noqa: BLE001 - the rest of the run does not need it
        report("note", text=f"cuDNN's description of the device could not be read: {type(error).__name__}: {error}")


main()
sys.exit(0)
