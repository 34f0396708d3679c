"""PyTorch beside us: opened once for a network, then told batch by batch what to measure, so that rounds alternate.

Reads JSON lines, answers each with one: {"open": {network, dtype, size}}, {"prepare": {batch, graph}},
{"measure": {driver, memory, seconds}}, {"latency": {calls}}, {"logits": {}}, {"compile": {batch}}.
"""

import json
import sys
import time

import torch

import torch_network as tn
from torch_network import DTYPES, MEAN, STD


class Peer:
    def __init__(self, mode):
        self.device = tn.device_of(mode)
        self.cuda = self.device.type == "cuda"

    def open(self, network, dtype, size):
        # Half precision on the CPU of a rehearsal would take minutes.
        self.dtype = dtype if self.cuda else "float32"
        tn.set_precision(self.dtype)
        torch.backends.cudnn.benchmark = True
        self.model = tn.build(network, self.device, self.dtype, narrow=not self.cuda)
        self.call = self.whole
        self.size = size
        shape = (1, 3, 1, 1)
        as_tensor = lambda values: torch.tensor(values, device=self.device).view(shape)  # noqa: E731
        self.scale = (1 / (255 * as_tensor(STD))).to(DTYPES[self.dtype])
        self.shift = (as_tensor(MEAN) / as_tensor(STD)).to(DTYPES[self.dtype])
        cudnn = torch.backends.cudnn.version()
        return {"torch": torch.__version__, "cudnn": cudnn, "device": str(self.device)}

    def normalised(self, pixels):
        """uint8 [N, H, W, 3] on the device to what the network takes, channels last."""
        return pixels.permute(0, 3, 1, 2).to(DTYPES[self.dtype]) * self.scale - self.shift

    def whole(self, pixels):
        """uint8 images on the device to float32 logits: what is timed on both sides, and what is compiled."""
        return self.model(self.normalised(pixels)).float()

    def pixels(self, batch, i=0):
        n = batch * self.size * self.size * 3
        values = ((torch.arange(i, i + n, dtype=torch.int64, device=self.device) * 2654435761 >> 16) & 255).to(torch.uint8)
        return values.view(batch, self.size, self.size, 3)

    @torch.inference_mode()
    def prepare(self, batch, graph=False):
        self.batch = batch
        self.graph = self.graph_input = self.graph_output = None
        self.inputs = [self.pixels(batch, i) for i in range(2)]
        self.turn = 0
        # Loads kernels, and lets cuDNN choose.
        for _ in range(4):
            self.eager()
        tn.synchronize(self.device)
        host = [self.pixels(batch, i).cpu() for i in range(2)]
        outputs = [torch.empty(batch, 1000) for _ in range(2)]
        if self.cuda:
            host = [tensor.pin_memory() for tensor in host]
            outputs = [tensor.pin_memory() for tensor in outputs]
            self.streams = [torch.cuda.Stream() for _ in range(2)]
            self.events = [torch.cuda.Event() for _ in range(2)]
        self.host, self.outputs = host, outputs
        if graph and self.cuda:
            self.capture()
        return {}

    def capture(self):
        self.graph_input = self.inputs[0].clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self.call(self.graph_input)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.graph_output = self.call(self.graph_input)

    def eager(self):
        self.turn ^= 1
        return self.call(self.inputs[self.turn])

    def overlapped(self):
        """One batch from page-locked memory and its logits back, two batches under way at once."""
        if not self.cuda:
            return self.call(self.host[0])
        self.turn ^= 1
        i = self.turn
        self.events[i].synchronize()
        with torch.cuda.stream(self.streams[i]):
            pixels = self.host[i].to(self.device, non_blocking=True)
            logits = self.call(pixels)
            self.outputs[i].copy_(logits, non_blocking=True)
            self.events[i].record()

    @torch.inference_mode()
    def measure(self, driver, memory, seconds):
        if driver == "pytorch eager in a CUDA graph":
            call = self.graph.replay if self.graph is not None else self.eager
        else:
            call = self.eager if memory == "device" else self.overlapped
        if memory == "host" and self.cuda:
            return self.by_the_clock(call, seconds)
        calls, taken = tn.seconds_of(self.device, call, seconds)
        return {"imagesPerSecond": calls * self.batch / taken}

    def by_the_clock(self, call, seconds):
        for _ in range(2):
            call()
        tn.synchronize(self.device)
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < seconds or calls < 3:
            call()
            calls += 1
        tn.synchronize(self.device)
        return {"imagesPerSecond": calls * self.batch / (time.perf_counter() - start)}

    @torch.inference_mode()
    def latency(self, calls):
        """A lone caller: pixels up, network, logits down."""
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            pixels = self.host[0].to(self.device, non_blocking=True)
            self.call(pixels).cpu()
            times.append((time.perf_counter() - start) * 1000)
        return {"milliseconds": times}

    @torch.inference_mode()
    def logits(self):
        return {"logits": self.call(self.inputs[0]).cpu().flatten().tolist()}

    def compile(self):
        """Every later call goes through torch.compile's best."""
        torch._dynamo.reset()
        start = time.perf_counter()
        self.call = torch.compile(self.whole, mode="max-autotune", dynamic=False)
        with torch.inference_mode():
            for _ in range(3):
                self.eager()
            tn.synchronize(self.device)
        return {"seconds": time.perf_counter() - start}


def main():
    peer = Peer(tn.arguments().mode)
    for line in sys.stdin:
        (name, given), = json.loads(line).items()
        try:
            answer = getattr(peer, name)(**given)
        except Exception as error:  # noqa: BLE001 - goes to whoever asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
