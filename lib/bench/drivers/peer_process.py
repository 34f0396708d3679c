"""The process of a peer in Python: it opens a network, calls it and times the calls, as the benchmark's runner asks.

One JSON object a line comes in on stdin, and one goes out on stdout for it: what was asked for, or {"error": text}.

  {"do": "versions", "packages": [...]}          -> {"python", "versions": {package: version or null}}
  {"do": "open", "driver", "trial", "images"}    -> {"version", "settings", "openMs"}
  {"do": "input", "shape", "data": base64}       -> {}                float32, NCHW, little endian
  {"do": "logits"}                               -> {"data": base64}  float32 [N, classes]
  {"do": "run", "kind": "closed", "milliseconds", "fewest"}
  {"do": "run", "kind": "open", "arrivals": [milliseconds from now, ...]}
      -> {"latencies", "refused", "elapsedMs", "cpuMs", "peakMb"}, an open loop's latencies from the intended start

It ends when stdin does. lib/bench/python.ts is the other side: warming up, arrivals and statistics are the runner's.
"""

import base64
import importlib.metadata
import json
import os
import platform
import resource
import sys
import threading
import time


class Peer:
    def __init__(self, loaders):
        self.loaders = loaders
        self.lanes = 1
        self.bind = None
        self.call = None

    def versions(self, packages):
        found = {}
        for package in packages:
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                found[package] = None
        return {"python": platform.python_version(), "versions": found}

    def open(self, driver, trial, images):
        begin = time.perf_counter()
        self.lanes = trial.get("lanes", 1)
        version, settings, self.bind = self.loaders[driver](trial, images)
        open_ms = (time.perf_counter() - begin) * 1000
        return {"version": version, "settings": settings, "openMs": open_ms}

    def input(self, shape, data):
        self.call = self.bind(base64.b64decode(data), shape)
        return {}

    def logits(self):
        return {"data": base64.b64encode(self.call().tobytes()).decode()}

    def run(self, kind, milliseconds=0, fewest=0, arrivals=()):
        """Callers, one for every lane, each in a thread when there are several."""
        lock = threading.Lock()
        latencies, failures = [], []
        cpu, begin = time.process_time(), time.perf_counter()
        due = iter(arrivals)
        begun = 0

        def next_start():
            """When the next call is meant to start; None after the last."""
            nonlocal begun
            with lock:
                if kind == "open":
                    arrival = next(due, None)
                    return None if arrival is None else begin + arrival / 1000
                now = time.perf_counter()
                if now >= begin + milliseconds / 1000 and begun >= fewest:
                    return None
                begun += 1
                return now

        def caller():
            try:
                while not failures and (start := next_start()) is not None:
                    wait = start - time.perf_counter()
                    if wait > 0:
                        time.sleep(wait)
                    self.call()
                    latencies.append((time.perf_counter() - start) * 1000)
            except Exception as error:
                failures.append(error)

        if self.lanes == 1:
            caller()
        else:
            threads = [threading.Thread(target=caller) for _ in range(self.lanes)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]
        return {
            "latencies": latencies,
            "refused": 0,
            "elapsedMs": (time.perf_counter() - begin) * 1000,
            "cpuMs": (time.process_time() - cpu) * 1000,
            "peakMb": peak_megabytes(),
        }


def peak_megabytes():
    """VmHWM where there is a /proc: what getrusage knows may stem from the process that started this one."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        pass
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform == "darwin" else used / 1024


def serve(loaders):
    """
    Answers until stdin ends. A loader takes (trial, images of a call) and gives (version, settings, bind); bind takes the
    input's bytes and shape and gives the call, whose result has tobytes().
    """
    # Libraries print; what they print goes to stderr, and stdout is the protocol's alone.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer = Peer(loaders)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(peer, request.pop("do"))(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(answer) + "\n")
