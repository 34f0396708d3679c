#include "core/plugin_export.h"

#include <atomic>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <vector>

#include "core/plugin_text.h"

namespace resnet {

namespace {

PluginServer served;

struct LiveCounts {
  std::atomic<int32_t> backends{0}, weights{0}, programs{0}, lanes{0}, buffers{0}, submissions{0};
} live;

template <std::atomic<int32_t> LiveCounts::* counter>
struct Counted {
  Counted() { ++(live.*counter); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --(live.*counter); }
};

// The whole of a function of the table: nothing may be thrown across it.
template <typename Body>
ResnetCode guarded(const ResnetReport& report, const Body& body) noexcept {
  try {
    const Status status = body();
    return status.ok() ? RESNET_OK : put(report, status);
  } catch (const std::bad_alloc&) {
    // Short enough to need no memory of its own.
    return put(report, Status::error(Code::kOutOfMemory, "no memory"));
  } catch (const std::exception& error) {
    return put(report, Status::error(Code::kInternal, error.what()));
  }
}

// Parameters that the addon reads for us.
class SourcedWeights final : public Weights {
 public:
  explicit SourcedWeights(const ResnetWeightsSource& source) : source_(source) {}
  ~SourcedWeights() override { source_.release(source_.context); }

  const TensorInfo* find(std::string_view name) const override {
    const std::lock_guard lock(mutex_);
    const auto known = found_.find(name);
    if (known != found_.end()) return &known->second;
    TensorInfo info;
    const auto keep = [](void* to, const ResnetTensorInfo* given) {
      TensorInfo& kept = *static_cast<TensorInfo*>(to);
      kept.name = asString(given->name);
      kept.dtype = DType(given->dtype);
      kept.shape.assign(given->shape, given->shape + given->rank);
    };
    if (source_.find(source_.context, asText(name), &info, keep) == 0) return nullptr;
    return &found_.emplace(std::string(name), std::move(info)).first->second;
  }

  Status read(std::string_view name, float* destination, size_t count) const override {
    Reported reported;
    return reported.take(
        source_.read(source_.context, asText(name), destination, count, reported.report()));
  }

 private:
  const ResnetWeightsSource source_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, TensorInfo, std::less<>> found_;  // nodes stay where they are
};

Control controlOver(ResnetControl& asked) {
  return {.poll =
              [](const void* context) {
                const auto& control = *static_cast<const ResnetControl*>(context);
                return control.stop(control.context) != 0;
              },
          .pollContext = &asked};
}

}  // namespace

}  // namespace resnet

using namespace resnet;

// What the handles are. They live at namespace scope since the table's header names them there.
struct ResnetBackend {
  std::shared_ptr<Backend> backend;
  Counted<&LiveCounts::backends> counted;
};
struct ResnetWeights {
  std::shared_ptr<const SourcedWeights> weights;
  Counted<&LiveCounts::weights> counted;
};
struct ResnetProgram {
  std::shared_ptr<const Program> program;
  Counted<&LiveCounts::programs> counted;
};
struct ResnetLane {
  std::unique_ptr<Lane> lane;
  Counted<&LiveCounts::lanes> counted;
};
struct ResnetBuffer {
  std::shared_ptr<DeviceBuffer> buffer;
  Counted<&LiveCounts::buffers> counted;
};

namespace resnet {

namespace {

void probe(void* context, void (*put)(void*, const ResnetProbe*)) noexcept {
  Probe found;
  try {
    found = served.probe();
  } catch (const std::exception& error) {
    found = {.reason = error.what()};
  }
  std::vector<ResnetDevice> devices;
  for (const DeviceInfo& device : found.devices) {
    devices.push_back({device.index, asText(device.name), asText(device.uuid),
                       device.capabilityMajor, device.capabilityMinor, device.multiprocessors,
                       device.mig ? 1 : 0, device.memoryBytes, device.freeBytes,
                       device.processBytes, device.ceilings.bytesPerSecond, device.ceilings.float16,
                       device.ceilings.bfloat16, device.ceilings.tf32, device.ceilings.float32,
                       asText(device.ceilings.source)});
  }
  const ResnetProbe given{devices.data(),        devices.size(),           asText(found.driver),
                          asText(found.runtime), asText(found.cudnn),      asText(found.cudnnPath),
                          asText(found.nvml),    asText(found.nvmlReason), asText(found.reason)};
  put(context, &given);
}

void liveCounts(ResnetLiveCounts* counts) noexcept {
  *counts = {live.backends, live.weights, live.programs,
             live.lanes,    live.buffers, live.submissions};
}

ResnetCode createBackend(const ResnetBackendOptions* options, ResnetReport report,
                         ResnetBackend** backend) noexcept {
  return guarded(report, [&]() -> Status {
    auto made = served.makeBackend({options->device, size_t(options->memoryLimit)});
    if (!made.ok()) return made.takeStatus();
    *backend = new ResnetBackend{made.take(), {}};
    return Status::okay();
  });
}
void destroyBackend(ResnetBackend* backend) noexcept { delete backend; }

void memory(const ResnetBackend* backend, ResnetMemory* memory) noexcept {
  const MemoryUse use = backend->backend->memory();
  *memory = {use.weights, use.arenas, use.tensors, use.staging, use.limit, use.process, {}};
  std::strncpy(memory->processReason, use.processReason.c_str(), sizeof memory->processReason - 1);
}

ResnetCode createWeights(ResnetBackend*, const ResnetWeightsSource* source, ResnetReport report,
                         ResnetWeights** weights) noexcept {
  bool taken = false;
  const ResnetCode code = guarded(report, [&]() -> Status {
    auto sourced = std::make_shared<SourcedWeights>(*source);
    taken = true;
    *weights = new ResnetWeights{std::move(sourced), {}};
    return Status::okay();
  });
  if (!taken) source->release(source->context);
  return code;
}
void destroyWeights(ResnetWeights* weights) noexcept { delete weights; }

ResnetCode compile(ResnetBackend* backend, ResnetText plan, ResnetWeights* weights,
                   const ResnetCompileOptions* given, ResnetControl asked, ResnetReport report,
                   ResnetProgram** program) noexcept {
  return guarded(report, [&]() -> Status {
    Result<Plan> parsed = parsePlan(asView(plan));
    if (!parsed.ok()) return parsed.takeStatus();
    CompileOptions options;
    options.maxBatch = given->maxBatch;
    options.threads = given->threads;
    options.precision = Float32Precision(given->precision);
    options.isa = asString(given->isa);
    options.deterministic = given->deterministic != 0;
    options.autotune = Autotune(given->autotune);
    options.graphs = given->graphs != 0;
    options.workspaceLimit = size_t(given->workspaceLimit);
    options.engineCache = asString(given->engineCache);
    options.tracks = given->tracks;
    options.tileOrder = TileOrder(given->tileOrder);
    auto compiled =
        backend->backend->compile(parsed.value(), weights->weights, options, controlOver(asked));
    if (!compiled.ok()) return compiled.takeStatus();
    *program = new ResnetProgram{compiled.take(), {}};
    return Status::okay();
  });
}
void destroyProgram(ResnetProgram* program) noexcept { delete program; }

void programInfo(const ResnetProgram* handle, ResnetProgramInfo* info) noexcept {
  const Program& program = *handle->program;
  *info = {program.arenaBytes(), program.weightBytes(), program.threads(), {}};
  std::strncpy(info->isa, program.isa(), sizeof info->isa - 1);
}

void explain(const ResnetProgram* handle, void* context,
             void (*put)(void*, const ResnetExplainRow*)) noexcept {
  for (const ExplainRow& row : handle->program->explain()) {
    std::vector<ResnetText> refused;
    for (const std::string& reason : row.refused) refused.push_back(asText(reason));
    const ResnetExplainRow given{asText(row.step),
                                 asText(row.kind),
                                 asText(row.implementation),
                                 refused.data(),
                                 refused.size(),
                                 row.flop,
                                 row.bytes,
                                 row.milliseconds,
                                 row.workspaceBytes,
                                 row.ceilingMilliseconds};
    put(context, &given);
  }
}

ResnetCode createLane(const ResnetProgram* program, ResnetReport report,
                      ResnetLane** lane) noexcept {
  return guarded(report, [&]() -> Status {
    Result<std::unique_ptr<Lane>> made = program->program->createLane();
    if (!made.ok()) return made.takeStatus();
    *lane = new ResnetLane{made.take(), {}};
    return Status::okay();
  });
}
void destroyLane(ResnetLane* lane) noexcept { delete lane; }

PictureAxis axisOf(const ResnetPictureAxis& axis) {
  return {axis.extent,  axis.size, axis.first,  axis.held,
          axis.resized, axis.from, axis.length, axis.to};
}
void setPicture(InputPiece& piece, const ResnetPicture* given) {
  if (given == nullptr) return;
  piece.picture =
      Picture{axisOf(given->x), axisOf(given->y), given->channels, size_t(given->pitch)};
}
void setPicture(OutputPiece&, const ResnetPicture*) {}

template <typename Piece>
std::vector<std::vector<Piece>> piecesOf(const ResnetPieces* lists, size_t count) {
  std::vector<std::vector<Piece>> result(count);
  for (size_t i = 0; i < count; ++i) {
    result[i].reserve(lists[i].count);
    for (size_t p = 0; p < lists[i].count; ++p) {
      const ResnetPiece& piece = lists[i].pieces[p];
      result[i].push_back({piece.data, piece.images, piece.onDevice != 0});
      setPicture(result[i].back(), piece.picture);
    }
  }
  return result;
}

// What a submission needs until it is done, in one allocation.
struct InFlight {
  explicit InFlight(ResnetControl control) : asked(control) {
    polled.poll = controlOver(asked).poll;
    polled.pollContext = &asked;
  }
  ResnetControl asked;
  Control polled;
  Counted<&LiveCounts::submissions> counted;
};

void submit(ResnetLane* lane, const ResnetSubmission* given, ResnetControl control,
            ResnetReport done) noexcept {
  guarded(done, [&]() -> Status {
    Submission submission;
    submission.batch = given->batch;
    submission.inputs = piecesOf<InputPiece>(given->inputs, given->inputCount);
    submission.outputs = piecesOf<OutputPiece>(given->outputs, given->outputCount);
    auto flight = std::make_shared<InFlight>(control);
    std::shared_ptr<const Control> polled(flight, &flight->polled);
    lane->lane->submit(std::move(submission), std::move(polled),
                       [done, flight = std::move(flight)](const Status& status) mutable {
                         flight.reset();
                         put(done, status);
                       });
    return Status::okay();
  });
}

ResnetCode allocate(ResnetBackend* backend, uint64_t bytes, ResnetReport report,
                    ResnetBuffer** buffer, void** data) noexcept {
  return guarded(report, [&]() -> Status {
    auto made = backend->backend->allocate(size_t(bytes));
    if (!made.ok()) return made.takeStatus();
    *buffer = new ResnetBuffer{made.take(), {}};
    *data = (*buffer)->buffer->data();
    return Status::okay();
  });
}
void destroyBuffer(ResnetBuffer* buffer) noexcept { delete buffer; }

ResnetCode upload(ResnetBackend* backend, ResnetBuffer* to, const void* from, uint64_t bytes,
                  ResnetReport report) noexcept {
  return guarded(report,
                 [&] { return backend->backend->upload(*to->buffer, from, size_t(bytes)); });
}
ResnetCode download(ResnetBackend* backend, void* to, const ResnetBuffer* from, uint64_t bytes,
                    ResnetReport report) noexcept {
  return guarded(report,
                 [&] { return backend->backend->download(to, *from->buffer, size_t(bytes)); });
}

}  // namespace

const ResnetPlugin* exportPlugin(const PluginServer& server) {
  served = server;
  static ResnetPlugin table;
  table = {RESNET_PLUGIN_ABI,
           sizeof(ResnetPlugin),
           server.kind,
           server.version,
           probe,
           liveCounts,
           createBackend,
           destroyBackend,
           memory,
           createWeights,
           destroyWeights,
           compile,
           destroyProgram,
           programInfo,
           explain,
           createLane,
           destroyLane,
           submit,
           allocate,
           destroyBuffer,
           upload,
           download};
  return &table;
}

}  // namespace resnet
