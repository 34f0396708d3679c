"""PyTorch and OpenVINO beside this package, as fast as their documented settings make them; peer_process.py runs them."""

import threading

from peer_process import serve


def array(data, shape):
    import numpy

    # A copy: PyTorch warns of memory that it may not write to.
    return numpy.frombuffer(data, dtype="<f4").reshape(shape).copy()


def load_torch(trial, compiled=False):
    import torch
    import torchvision
    from safetensors.torch import load_file

    device, threads, lanes = trial["device"], trial["threads"], trial.get("lanes", 1)
    cuda = device.startswith("cuda")
    if cuda and lanes > 1:
        raise ValueError(f"lanes: expected 1 on CUDA, where this driver has one stream, received {lanes}")
    if threads:
        torch.set_num_threads(max(1, threads // lanes))
    # float32 is float32: this package's default is not TF32 either.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = cuda
    dtype = getattr(torch, trial["dtype"])
    weights = load_file(trial["network"]["checkpoint"])
    make = getattr(torchvision.models, trial["network"]["name"])
    model = make(weights=None, num_classes=weights["fc.weight"].shape[0])
    # Counters of training, which a checkpoint may lack, change nothing here.
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"checkpoint: expected torchvision's names; missing {missing}, unexpected {unexpected}")
    model = model.eval().to(device=device, dtype=dtype, memory_format=torch.channels_last)
    settings = {
        "memoryFormat": "channels_last",
        "mode": "compile" if compiled else "eager",
        "threads": torch.get_num_threads(),
        "interOpThreads": torch.get_num_interop_threads(),
        "torchvision": torchvision.__version__,
    }
    if cuda:
        settings["name"] = torch.cuda.get_device_name(device)
    if compiled:
        # Weights become constants: norms are folded into convolutions, and layouts chosen once.
        import torch._inductor.config as inductor

        inductor.freezing = True
        settings["freezing"] = True
        settings["compileMode"] = "max-autotune" if cuda else "default"
        model = torch.compile(model, mode=settings["compileMode"])

    def bind(data, shape):
        x = torch.from_numpy(array(data, shape)).contiguous(memory_format=torch.channels_last)
        if cuda:
            x = x.pin_memory()
        # Without gradients, which is a property of the thread; the compiler has no use for the other mode.
        mode = torch.no_grad if compiled else torch.inference_mode

        def call():
            # As a caller of this package has it: float32 in the host's memory, before and after.
            with mode():
                return model(x.to(device=device, dtype=dtype, non_blocking=cuda)).float().cpu().numpy()

        return call

    return torch.__version__, settings, bind


def load_openvino(trial, images):
    import openvino

    lanes, threads, dtype = trial.get("lanes", 1), trial["threads"], trial["dtype"]
    core = openvino.Core()
    device = {"cpu": "CPU"}.get(trial["device"])
    if device is None:
        raise ValueError(f"device: expected 'cpu', received '{trial['device']}'")
    network = core.read_model(trial["network"]["onnx"])
    shape = network.inputs[0].get_partial_shape()
    shape[0] = images
    network.reshape(shape)
    options = {
        "PERFORMANCE_HINT": "THROUGHPUT" if lanes > 1 else "LATENCY",
        "NUM_STREAMS": str(lanes),
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[dtype],
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = str(threads)
    compiled = core.compile_model(network, device, options)
    settings = {**options, "layout": "as the ONNX file, batch size fixed"}

    def bind(data, shape):
        x = array(data, shape)
        # A request of its own for every thread that calls.
        local = threading.local()

        def call():
            if not hasattr(local, "request"):
                local.request = compiled.create_infer_request()
            return local.request.infer([x], share_inputs=True, share_outputs=True)[0]

        return call

    return openvino.__version__, settings, bind


serve(
    {
        "torch": lambda trial, _: load_torch(trial),
        "torch-compile": lambda trial, _: load_torch(trial, compiled=True),
        "openvino": load_openvino,
    }
)
