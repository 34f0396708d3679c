// The entry points of the CUDA runtime for streams, events, capture and graphs.
#include <algorithm>

#include "test/cuda/simulated/state.h"

using namespace resnet::simulated;

namespace {

const std::shared_ptr<const Work>& marker() {
  static const auto work = std::make_shared<const Work>();
  return work;
}

cudaError_t lostOf(int device) { return state().devices[size_t(device)].lost; }
int deviceOf(cudaStream_t stream) { return stream == nullptr ? currentDevice : stream->device; }

OperationPointer tailOf(cudaStream_t stream) {
  if (stream != nullptr) return stream->tail;
  return enqueue(nullptr, marker());
}

bool validEvent(cudaEvent_t event) {
  if (event != nullptr && state().events.count(event) != 0) return true;
  violation("an event was used that does not exist or was destroyed");
  return false;
}

// Every node leads to the origin's end: no forked stream was forgotten.
bool joined(const Capture& capture, const std::vector<int>& end) {
  std::vector<bool> seen(capture.nodes.size());
  std::vector<int> open = end;
  size_t count = 0;
  while (!open.empty()) {
    const int node = open.back();
    open.pop_back();
    if (seen[size_t(node)]) continue;
    seen[size_t(node)] = true;
    ++count;
    for (int other : capture.nodes[size_t(node)].after) open.push_back(other);
  }
  return count == capture.nodes.size();
}

void endCapture(Capture* capture) {
  for (CUstream_st* stream : state().streams) {
    if (stream->capture != capture) continue;
    stream->capture = nullptr;
    stream->captureTail.clear();
  }
  for (CUevent_st* event : state().events)
    if (event->capture == capture) event->capture = nullptr;
  state().captures.erase(capture);
  delete capture;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  Entry entry("cudaStreamCreate");
  if (!entry.ok()) return entry.leave();
  *stream = new CUstream_st;
  (*stream)->device = currentDevice;
  (*stream)->blocking = (flags & cudaStreamNonBlocking) == 0;
  state().streams.insert(*stream);
  return entry.leave();
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithPriority(stream, cudaStreamDefault, 0);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  Entry entry("cudaDeviceGetStreamPriorityRange");
  *least = 0;
  *greatest = -5;
  return entry.leave();
}

// Its work is still to be done, as on a device.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Entry entry("cudaStreamDestroy", Entry::kRelease);
  if (entry.code() == cudaErrorNotPermitted) return entry.leave();
  if (stream == nullptr || !validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr && stream->capture->origin == stream) endCapture(stream->capture);
  state().streams.erase(stream);
  delete stream;
  return entry.leave();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Entry entry("cudaStreamSynchronize");
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  const cudaError_t refused = refuseInCapture(stream);
  if (refused != cudaSuccess) return entry.leave(refused);
  const int device = deviceOf(stream);
  await(entry.lock(), tailOf(stream));
  return entry.leave(lostOf(device));
}

// Not ready when asked first, and done by the next time.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  Entry entry("cudaStreamQuery");
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  const cudaError_t refused = refuseInCapture(stream);
  if (refused != cudaSuccess) return entry.leave(refused);
  const int device = deviceOf(stream);
  const OperationPointer tail = tailOf(stream);
  if (tail == nullptr || tail->done) {
    orderWaited(tail.get());
    return entry.leave(lostOf(device));
  }
  drive(entry.lock(), tail);
  return entry.leave(lostOf(device) != cudaSuccess ? lostOf(device) : cudaErrorNotReady);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  Entry entry("cudaLaunchHostFunc");
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  return entry.leave(submit(stream, {"a host function",
                                     [=] {
                                       function(data);
                                       return cudaSuccess;
                                     },
                                     true, 1}));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  Entry entry("cudaEventCreate");
  if (!entry.ok()) return entry.leave();
  *event = new CUevent_st;
  (*event)->device = currentDevice;
  (*event)->timing = (flags & cudaEventDisableTiming) == 0;
  state().events.insert(*event);
  return entry.leave();
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  Entry entry("cudaEventDestroy", Entry::kRelease);
  if (entry.code() == cudaErrorNotPermitted) return entry.leave();
  if (!validEvent(event)) return entry.leave(cudaErrorInvalidResourceHandle);
  state().events.erase(event);
  delete event;
  return entry.leave();
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
  Entry entry("cudaEventRecord");
  if (!entry.ok()) return entry.leave();
  if (!validEvent(event) || !validStream(stream))
    return entry.leave(cudaErrorInvalidResourceHandle);
  if (deviceOf(stream) != event->device) return entry.leave(cudaErrorInvalidResourceHandle);
  if (Capture* capture = captureOf(stream)) {
    if (capture->invalid) return entry.leave(cudaErrorStreamCaptureInvalidated);
    event->capture = capture;
    event->captureTail = stream->captureTail;
    return entry.leave();
  }
  event->capture = nullptr;
  event->operation = enqueue(stream, marker());
  return entry.leave();
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  Entry entry("cudaStreamWaitEvent");
  if (!entry.ok()) return entry.leave();
  if (!validEvent(event) || !validStream(stream))
    return entry.leave(cudaErrorInvalidResourceHandle);
  Capture* capture = captureOf(stream);
  if (event->capture != nullptr) {
    if (stream == nullptr) return entry.leave(cudaErrorStreamCaptureImplicit);
    if (capture != nullptr && capture != event->capture) {
      capture->invalid = event->capture->invalid = true;
      return entry.leave(cudaErrorStreamCaptureMerge);
    }
    if (capture == nullptr) stream->captureTail.clear();
    stream->capture = event->capture;  // forks into the capture
    for (int node : event->captureTail)
      if (std::count(stream->captureTail.begin(), stream->captureTail.end(), node) == 0)
        stream->captureTail.push_back(node);
    return entry.leave();
  }
  if (capture != nullptr) {
    if (event->operation == nullptr) return entry.leave();
    capture->invalid = true;
    return entry.leave(cudaErrorStreamCaptureIsolation);
  }
  if (event->operation == nullptr) return entry.leave();
  const OperationPointer before = enqueue(stream, marker());
  before->after.push_back(event->operation);
  return entry.leave();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Entry entry("cudaEventSynchronize");
  if (!entry.ok()) return entry.leave();
  if (!validEvent(event)) return entry.leave(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) return entry.leave(cudaErrorCapturedEvent);
  const int device = event->device;
  await(entry.lock(), event->operation);
  return entry.leave(lostOf(device));
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  Entry entry("cudaEventQuery");
  if (!entry.ok()) return entry.leave();
  if (!validEvent(event)) return entry.leave(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) return entry.leave(cudaErrorCapturedEvent);
  const int device = event->device;
  const OperationPointer operation = event->operation;
  if (operation == nullptr || operation->done) {
    orderWaited(operation.get());
    return entry.leave(lostOf(device));
  }
  drive(entry.lock(), operation);
  return entry.leave(lostOf(device) != cudaSuccess ? lostOf(device) : cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  Entry entry("cudaEventElapsedTime");
  if (!entry.ok()) return entry.leave();
  if (!validEvent(from) || !validEvent(to)) return entry.leave(cudaErrorInvalidResourceHandle);
  if (!from->timing || !to->timing || from->operation == nullptr || to->operation == nullptr)
    return entry.leave(cudaErrorInvalidResourceHandle);
  if (!from->operation->done || !to->operation->done) return entry.leave(cudaErrorNotReady);
  *milliseconds = float((to->operation->finished - from->operation->finished) / 1e3);
  return entry.leave();
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  Entry entry("cudaStreamBeginCapture");
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  if (stream == nullptr) return entry.leave(cudaErrorStreamCaptureUnsupported);
  if (stream->capture != nullptr) return entry.leave(cudaErrorIllegalState);
  auto* capture = new Capture;
  capture->origin = stream;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  state().captures.insert(capture);
  stream->capture = capture;
  stream->captureTail.clear();
  return entry.leave();
}

// Ends the capture also when it fails.
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  Entry entry("cudaStreamEndCapture", Entry::kRelease);
  *graph = nullptr;
  if (entry.code() == cudaErrorNotPermitted) return entry.leave();
  if (stream == nullptr || !validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  Capture* capture = stream->capture;
  if (capture == nullptr) return entry.leave(cudaErrorIllegalState);
  if (capture->origin != stream) {
    capture->invalid = true;
    return entry.leave(cudaErrorStreamCaptureUnmatched);
  }
  if (capture->mode != cudaStreamCaptureModeRelaxed &&
      capture->thread != std::this_thread::get_id())
    return entry.leave(cudaErrorStreamCaptureWrongThread);
  cudaError_t code = cudaSuccess;
  if (capture->invalid)
    code = cudaErrorStreamCaptureInvalidated;
  else if (!joined(*capture, stream->captureTail))
    code = cudaErrorStreamCaptureUnjoined;
  if (code == cudaSuccess && entry.ok()) {
    *graph = new CUgraph_st{stream->device, std::move(capture->nodes)};
    state().graphs.insert(*graph);
  }
  endCapture(capture);
  return entry.leave(code);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  Entry entry("cudaStreamIsCapturing");
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  const Capture* capture = captureOf(stream);
  *status = capture == nullptr ? cudaStreamCaptureStatusNone
            : capture->invalid ? cudaStreamCaptureStatusInvalidated
                               : cudaStreamCaptureStatusActive;
  return entry.leave();
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  Entry entry("cudaThreadExchangeStreamCaptureMode", Entry::kPlain);
  static thread_local cudaStreamCaptureMode current = cudaStreamCaptureModeGlobal;
  std::swap(current, *mode);
  return entry.leave();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  Entry entry("cudaGraphInstantiate");
  if (!entry.ok()) return entry.leave();
  if (state().graphs.count(graph) == 0) return entry.leave(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{graph->device, graph->nodes, nullptr};
  state().executables.insert(*executable);
  return entry.leave();
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                          unsigned long long flags) {
  return cudaGraphInstantiate(executable, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
  Entry entry("cudaGraphUpload");
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  return entry.leave(state().executables.count(executable) != 0 ? cudaSuccess
                                                                : cudaErrorInvalidValue);
}

// Launches of one graph follow each other. Inside, only the captured order holds.
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  Entry entry("cudaGraphLaunch");
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  if (state().executables.count(executable) == 0) {
    violation("a graph was launched that does not exist or was destroyed");
    return entry.leave(cudaErrorInvalidValue);
  }
  if (deviceOf(stream) != executable->device) return entry.leave(cudaErrorInvalidValue);
  const cudaError_t refused = refuseInCapture(stream);
  if (refused != cudaSuccess) return entry.leave(refused);
  const OperationPointer begin = enqueue(stream, marker());
  if (executable->last != nullptr) begin->after.push_back(executable->last);
  std::vector<OperationPointer> operations;
  // Each on a stream of its own, tied by the waits alone.
  for (const Node& node : executable->nodes) {
    CUstream_st own;
    own.device = executable->device;
    own.blocking = false;
    own.tail = begin;
    OperationPointer operation = enqueue(&own, node.work);
    for (int other : node.after) operation->after.push_back(operations[size_t(other)]);
    operations.push_back(std::move(operation));
  }
  const OperationPointer end = enqueue(stream, marker());
  for (const OperationPointer& operation : operations) end->after.push_back(operation);
  executable->last = end;
  return entry.leave();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  Entry entry("cudaGraphDestroy", Entry::kRelease);
  if (entry.code() == cudaErrorNotPermitted) return entry.leave();
  if (state().graphs.erase(graph) == 0) return entry.leave(cudaErrorInvalidValue);
  delete graph;
  return entry.leave();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  Entry entry("cudaGraphExecDestroy", Entry::kRelease);
  if (entry.code() == cudaErrorNotPermitted) return entry.leave();
  if (state().executables.erase(executable) == 0) {
    violation("cudaGraphExecDestroy of what does not exist or was destroyed");
    return entry.leave(cudaErrorInvalidValue);
  }
  delete executable;
  return entry.leave();
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  Entry entry("cudaGraphGetNodes");
  if (!entry.ok()) return entry.leave();
  if (state().graphs.count(graph) == 0) return entry.leave(cudaErrorInvalidValue);
  *count = graph->nodes.size();
  return entry.leave();
}

// Referenced by headers of cudnn_frontend, for graphs that it fills itself; no plan does so.
#define RESNET_NOT_SIMULATED(name, ...)        \
  cudaError_t name(__VA_ARGS__) {              \
    Entry entry(#name);                        \
    return entry.leave(cudaErrorNotSupported); \
  }
RESNET_NOT_SIMULATED(cudaGraphAddChildGraphNode, cudaGraphNode_t*, cudaGraph_t,
                     const cudaGraphNode_t*, size_t, cudaGraph_t)
RESNET_NOT_SIMULATED(cudaGraphAddMemcpyNode1D, cudaGraphNode_t*, cudaGraph_t,
                     const cudaGraphNode_t*, size_t, void*, const void*, size_t, cudaMemcpyKind)
RESNET_NOT_SIMULATED(cudaGraphAddMemsetNode, cudaGraphNode_t*, cudaGraph_t, const cudaGraphNode_t*,
                     size_t, const cudaMemsetParams*)
RESNET_NOT_SIMULATED(cudaGraphGetRootNodes, cudaGraph_t, cudaGraphNode_t*, size_t*)
RESNET_NOT_SIMULATED(cudaGraphChildGraphNodeGetGraph, cudaGraphNode_t, cudaGraph_t*)
RESNET_NOT_SIMULATED(cudaGraphNodeGetDependentNodes, cudaGraphNode_t, cudaGraphNode_t*,
                     cudaGraphEdgeData*, size_t*)
RESNET_NOT_SIMULATED(cudaGraphMemcpyNodeSetParams1D, cudaGraphNode_t, void*, const void*, size_t,
                     cudaMemcpyKind)
RESNET_NOT_SIMULATED(cudaGraphMemsetNodeSetParams, cudaGraphNode_t, const cudaMemsetParams*)
#undef RESNET_NOT_SIMULATED

}  // extern "C"
