"""The card while steps run: a JSON line about every 50 ms, until its standard input ends. Through NVML where its bindings are
installed, else by nvidia-smi, which asks the same library."""

import csv
import json
import select
import subprocess
import sys
import time

FIELDS = ["memory.used", "power.draw", "clocks.sm", "clocks.mem", "temperature.gpu"]


def write(out, used, power, sm, memory, temperature):
    out.write(json.dumps({"at": time.time(), "usedMiB": used, "powerW": power, "smMhz": sm, "memoryMhz": memory,
                          "temperature": temperature}) + "\n")  # fmt: skip
    out.flush()


def by_nvml(out):
    import pynvml as nvml

    nvml.nvmlInit()
    card = nvml.nvmlDeviceGetHandleByIndex(0)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        write(out, nvml.nvmlDeviceGetMemoryInfo(card).used / 2**20, nvml.nvmlDeviceGetPowerUsage(card) / 1000,
              nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM), nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM),
              nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU))  # fmt: skip


def by_nvidia_smi(out):
    command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits", "-lms", "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for row in csv.reader(child.stdout):
            if select.select([sys.stdin], [], [], 0)[0]:
                child.terminate()
                return
            number = lambda text: float(text) if text.strip()[:1].isdigit() else None  # noqa: E731
            write(out, *map(number, row))


with open(sys.argv[1], "a") as out:
    try:
        by_nvml(out)
    except Exception as error:  # noqa: BLE001 - no bindings, or none that this driver answers
        print(f"NVML by nvidia-smi: {type(error).__name__}: {error}", file=sys.stderr)
        by_nvidia_smi(out)
