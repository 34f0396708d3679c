#include "core/plugin_backend.h"

#include <atomic>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "core/plugin_text.h"

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace resnet {

namespace {

// Calls a plugin's function that may fail: call(code and message go here).
template <typename Call>
Status reported(const Call& call) {
  Reported receiver;
  const ResnetCode code = call(receiver.report());
  return receiver.take(code);
}

// The plugin's backend; all that was made from it keeps it alive.
struct BackendHandle {
  BackendHandle(const ResnetPlugin* plugin, ResnetBackend* made)
      : table(*plugin), handle(made), id(nextId++) {}
  BackendHandle(const BackendHandle&) = delete;
  BackendHandle& operator=(const BackendHandle&) = delete;
  ~BackendHandle() { table.destroyBackend(handle); }

  static inline std::atomic<uint64_t> nextId{1};
  const ResnetPlugin& table;
  ResnetBackend* const handle;
  const uint64_t id;  // an address may be used again
};
using SharedBackend = std::shared_ptr<const BackendHandle>;

// The plugin's view of some Weights of ours. The Weights own it (through their packed store), the
// plugin's side of it only observes them: programs, which may still read, keep them alive.
struct WeightsHandle {
  WeightsHandle(SharedBackend owner, ResnetWeights* made)
      : backend(std::move(owner)), handle(made) {}
  WeightsHandle(const WeightsHandle&) = delete;
  WeightsHandle& operator=(const WeightsHandle&) = delete;
  ~WeightsHandle() { backend->table.destroyWeights(handle); }

  const SharedBackend backend;
  ResnetWeights* const handle;
};

using Observed = std::weak_ptr<const Weights>;

int32_t findParameter(void* context, ResnetText name, void* to,
                      void (*put)(void*, const ResnetTensorInfo*)) noexcept {
  const std::shared_ptr<const Weights> weights = static_cast<const Observed*>(context)->lock();
  const TensorInfo* info = weights == nullptr ? nullptr : weights->find(asView(name));
  if (info == nullptr) return 0;
  const ResnetTensorInfo given{asText(info->name), int32_t(info->dtype), info->shape.data(),
                               info->shape.size()};
  put(to, &given);
  return 1;
}

ResnetCode readParameter(void* context, ResnetText name, float* destination, size_t count,
                         ResnetReport report) noexcept {
  try {
    const std::shared_ptr<const Weights> weights = static_cast<const Observed*>(context)->lock();
    if (weights == nullptr) {
      return put(report, Status::error(Code::kDisposed, "the weights were disposed"));
    }
    const Status status = weights->read(asView(name), destination, count);
    return status.ok() ? RESNET_OK : put(report, status);
  } catch (const std::exception& error) {
    return put(report, Status::error(Code::kOutOfMemory, error.what()));
  }
}

void releaseWeights(void* context) noexcept { delete static_cast<Observed*>(context); }

int32_t stopAsked(void* context) noexcept {
  return static_cast<const Control*>(context)->stop() ? 1 : 0;
}
ResnetControl controlOver(const Control* control) {
  static const Control kNever;
  return {const_cast<Control*>(control == nullptr ? &kNever : control), stopAsked};
}

class PluginBuffer final : public DeviceBuffer {
 public:
  PluginBuffer(SharedBackend backend, ResnetBuffer* handle, void* data, size_t bytes)
      : backend_(std::move(backend)), handle_(handle), data_(data), bytes_(bytes) {}
  ~PluginBuffer() override { backend_->table.destroyBuffer(handle_); }

  void* data() const override { return data_; }
  size_t bytes() const override { return bytes_; }
  ResnetBuffer* handle() const { return handle_; }

 private:
  const SharedBackend backend_;
  ResnetBuffer* const handle_;
  void* const data_;
  const size_t bytes_;
};

// The plugin's program, and what must not go before it.
struct ProgramHandle {
  ProgramHandle(SharedBackend owner, std::shared_ptr<const Weights> read, ResnetProgram* made)
      : backend(std::move(owner)), weights(std::move(read)), handle(made) {}
  ProgramHandle(const ProgramHandle&) = delete;
  ProgramHandle& operator=(const ProgramHandle&) = delete;
  ~ProgramHandle() { backend->table.destroyProgram(handle); }

  const SharedBackend backend;
  const std::shared_ptr<const Weights> weights;
  ResnetProgram* const handle;
};

ResnetPictureAxis asAxis(const PictureAxis& axis) {
  return {axis.extent,  axis.size, axis.first,  axis.held,
          axis.resized, axis.from, axis.length, axis.to};
}
ResnetPicture asPicture(const Picture& picture) {
  return {asAxis(picture.x), asAxis(picture.y), picture.channels, picture.pitch};
}

class PluginLane final : public Lane {
 public:
  PluginLane(std::shared_ptr<const ProgramHandle> program, ResnetLane* handle)
      : program_(std::move(program)), handle_(handle) {}
  ~PluginLane() override { program_->backend->table.destroyLane(handle_); }

  void submit(Submission submission, std::shared_ptr<const Control> control,
              std::function<void(Status)> done) override {
    const Flat inputs(submission.inputs), outputs(submission.outputs);
    const ResnetSubmission given{submission.batch, inputs.lists.data(), inputs.lists.size(),
                                 outputs.lists.data(), outputs.lists.size()};
    auto* flight = new InFlight{std::move(control), std::move(done)};  // finished() deletes it
    program_->backend->table.submit(handle_, &given, controlOver(flight->control.get()),
                                    {flight, finished});
  }

 private:
  struct InFlight {
    std::shared_ptr<const Control> control;
    std::function<void(Status)> done;
  };

  // Lists of pieces as the table takes them.
  struct Flat {
    template <typename Piece>
    explicit Flat(const std::vector<std::vector<Piece>>& all) {
      size_t count = 0, pictureCount = 0;
      for (const auto& list : all) {
        count += list.size();
        for (const Piece& piece : list) pictureCount += pictureOf(piece) != nullptr ? 1 : 0;
      }
      pieces.reserve(count);  // their elements stay where they are
      pictures.reserve(pictureCount);
      for (const auto& list : all) {
        lists.push_back({pieces.data() + pieces.size(), list.size()});
        for (const Piece& piece : list) {
          const Picture* picture = pictureOf(piece);
          if (picture != nullptr) pictures.push_back(asPicture(*picture));
          pieces.push_back({const_cast<void*>(static_cast<const void*>(piece.data)), piece.images,
                            piece.onDevice ? 1 : 0,
                            picture != nullptr ? &pictures.back() : nullptr});
        }
      }
    }
    static const Picture* pictureOf(const InputPiece& piece) {
      return piece.picture ? &*piece.picture : nullptr;
    }
    static const Picture* pictureOf(const OutputPiece&) { return nullptr; }

    std::vector<ResnetPiece> pieces;
    std::vector<ResnetPieces> lists;
    std::vector<ResnetPicture> pictures;
  };

  static void finished(void* context, ResnetCode code, ResnetText message,
                       ResnetText step) noexcept {
    const std::unique_ptr<InFlight> flight(static_cast<InFlight*>(context));
    flight->done(code == RESNET_OK ? Status::okay()
                                   : Status{asCode(code), asString(message), asString(step)});
  }

  const std::shared_ptr<const ProgramHandle> program_;
  ResnetLane* const handle_;
};

class PluginProgram final : public Program {
 public:
  explicit PluginProgram(std::shared_ptr<const ProgramHandle> program)
      : program_(std::move(program)), info_(info()) {}

  Result<std::unique_ptr<Lane>> createLane() const override {
    ResnetLane* handle = nullptr;
    RESNET_RETURN_IF_ERROR(reported([&](ResnetReport report) {
      return program_->backend->table.createLane(program_->handle, report, &handle);
    }));
    return std::unique_ptr<Lane>(std::make_unique<PluginLane>(program_, handle));
  }

  std::vector<ExplainRow> explain() const override {
    std::vector<ExplainRow> rows;
    const auto add = [](void* to, const ResnetExplainRow* given) {
      ExplainRow row{asString(given->step), asString(given->kind), asString(given->implementation)};
      for (size_t i = 0; i < given->refusedCount; ++i) {
        row.refused.push_back(asString(given->refused[i]));
      }
      row.flop = given->flop;
      row.bytes = given->bytes;
      row.milliseconds = given->milliseconds;
      row.workspaceBytes = given->workspaceBytes;
      row.ceilingMilliseconds = given->ceilingMilliseconds;
      static_cast<std::vector<ExplainRow>*>(to)->push_back(std::move(row));
    };
    program_->backend->table.explain(program_->handle, &rows, add);
    return rows;
  }

  size_t arenaBytes() const override { return size_t(info().arenaBytes); }
  size_t weightBytes() const override { return size_t(info().weightBytes); }
  int threads() const override { return info_.threads; }
  const char* isa() const override { return info_.isa; }

 private:
  ResnetProgramInfo info() const {
    ResnetProgramInfo info{};
    program_->backend->table.programInfo(program_->handle, &info);
    return info;
  }

  const std::shared_ptr<const ProgramHandle> program_;
  const ResnetProgramInfo info_;
};

class PluginBackend final : public Backend {
 public:
  explicit PluginBackend(SharedBackend backend) : backend_(std::move(backend)) {}

  Result<std::shared_ptr<DeviceBuffer>> allocate(size_t bytes) override {
    ResnetBuffer* handle = nullptr;
    void* data = nullptr;
    RESNET_RETURN_IF_ERROR(reported([&](ResnetReport report) {
      return backend_->table.allocate(backend_->handle, bytes, report, &handle, &data);
    }));
    return std::shared_ptr<DeviceBuffer>(
        std::make_shared<PluginBuffer>(backend_, handle, data, bytes));
  }
  Status upload(DeviceBuffer& to, const void* from, size_t bytes) override {
    return reported([&](ResnetReport report) {
      return backend_->table.upload(backend_->handle, static_cast<PluginBuffer&>(to).handle(), from,
                                    bytes, report);
    });
  }
  Status download(void* to, const DeviceBuffer& from, size_t bytes) override {
    return reported([&](ResnetReport report) {
      return backend_->table.download(
          backend_->handle, to, static_cast<const PluginBuffer&>(from).handle(), bytes, report);
    });
  }
  MemoryUse memory() const override {
    ResnetMemory use{};
    backend_->table.memory(backend_->handle, &use);
    return {size_t(use.weights), size_t(use.arenas),  size_t(use.tensors), size_t(use.staging),
            size_t(use.limit),   size_t(use.process), use.processReason};
  }

  Result<std::shared_ptr<const Program>> compile(const Plan& plan,
                                                 std::shared_ptr<const Weights> weights,
                                                 const CompileOptions& options,
                                                 const Control& control) override {
    auto theirs = handleOf(weights);
    if (!theirs.ok()) return theirs.takeStatus();
    const ResnetCompileOptions given{options.maxBatch,
                                     options.threads,
                                     int32_t(options.precision),
                                     options.deterministic ? 1 : 0,
                                     int32_t(options.autotune),
                                     options.graphs ? 1 : 0,
                                     options.tracks,
                                     int32_t(options.tileOrder),
                                     options.workspaceLimit,
                                     asText(options.isa),
                                     asText(options.engineCache)};
    const std::string text = writePlan(plan);
    ResnetProgram* handle = nullptr;
    RESNET_RETURN_IF_ERROR(reported([&](ResnetReport report) {
      return backend_->table.compile(backend_->handle, asText(text), theirs.value()->handle, &given,
                                     controlOver(&control), report, &handle);
    }));
    auto program = std::make_shared<ProgramHandle>(backend_, std::move(weights), handle);
    return std::shared_ptr<const Program>(std::make_shared<PluginProgram>(std::move(program)));
  }

 private:
  // One handle for every program of the same weights, so that the plugin packs each parameter once.
  Result<std::shared_ptr<const WeightsHandle>> handleOf(
      const std::shared_ptr<const Weights>& weights) const {
    const std::string key = "plugin backend " + std::to_string(backend_->id);
    const auto handleIn = [](const PackedBuffer& buffer) {
      return std::static_pointer_cast<const WeightsHandle>(buffer.owners.front());
    };
    if (const auto known = weights->packed().find(key)) return handleIn(*known);

    const ResnetWeightsSource source{new Observed(weights), findParameter, readParameter,
                                     releaseWeights};
    ResnetWeights* made = nullptr;
    RESNET_RETURN_IF_ERROR(reported([&](ResnetReport report) {
      return backend_->table.createWeights(backend_->handle, &source, report, &made);
    }));
    auto buffer = std::make_shared<PackedBuffer>();
    buffer->owners.push_back(std::make_shared<WeightsHandle>(backend_, made));
    return handleIn(*weights->packed().insert(key, std::move(buffer)));
  }

  const SharedBackend backend_;
};

Status refused(const std::string& path, const std::string& reason) {
  return Status::error(Code::kUnavailable, path + ": " + reason);
}

// What a table says of itself in the fields that every version has.
Status checkTable(const std::string& path, const ResnetPlugin* table) {
  if (table == nullptr) return refused(path, "its " RESNET_PLUGIN_SYMBOL "() gives no table");
  if (table->abi != RESNET_PLUGIN_ABI) {
    return refused(path, "it speaks version " + std::to_string(table->abi) +
                             " of the plugin interface (package " + table->version +
                             "), this addon version " + std::to_string(RESNET_PLUGIN_ABI) +
                             "; install the plugin of the same version as resnet");
  }
  if (table->size < sizeof(ResnetPlugin)) {
    return refused(path, "its table has " + std::to_string(table->size) + " bytes, expected " +
                             std::to_string(sizeof(ResnetPlugin)) +
                             "; install the plugin of the same version as resnet");
  }
  return Status::okay();
}

}  // namespace

Result<std::shared_ptr<const Plugin>> Plugin::open(const std::string& path) {
#if defined(_WIN32)
  return refused(path, "plugins need Linux");
#else
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* words = dlerror();
    return refused(path, words == nullptr ? "it cannot be opened" : words);
  }
  void* symbol = dlsym(library, RESNET_PLUGIN_SYMBOL);
  if (symbol == nullptr) {
    dlclose(library);
    return refused(path, "it is no plugin of resnet: it exports no " RESNET_PLUGIN_SYMBOL);
  }
  ResnetPluginEntry entry = nullptr;
  std::memcpy(&entry, &symbol, sizeof entry);
  const ResnetPlugin* table = entry();
  RESNET_RETURN_IF_ERROR(checkTable(path, table));
  return std::shared_ptr<const Plugin>(new Plugin(table));
#endif
}

Probe Plugin::probe() const {
  Probe result;
  const auto keep = [](void* to, const ResnetProbe* found) {
    Probe& probe = *static_cast<Probe*>(to);
    for (size_t i = 0; i < found->deviceCount; ++i) {
      const ResnetDevice& device = found->devices[i];
      probe.devices.push_back(
          {device.index,
           asString(device.name),
           asString(device.uuid),
           device.capabilityMajor,
           device.capabilityMinor,
           device.multiprocessors,
           size_t(device.memoryBytes),
           size_t(device.freeBytes),
           device.mig != 0,
           {device.bytesPerSecond, device.float16Flop, device.bfloat16Flop, device.tf32Flop,
            device.float32Flop, asString(device.ceilingsSource)},
           size_t(device.processBytes)});
    }
    probe.driver = asString(found->driver);
    probe.runtime = asString(found->runtime);
    probe.cudnn = asString(found->cudnn);
    probe.cudnnPath = asString(found->cudnnPath);
    probe.nvml = asString(found->nvml);
    probe.nvmlReason = asString(found->nvmlReason);
    probe.reason = asString(found->reason);
  };
  table_->probe(&result, keep);
  return result;
}

ResnetLiveCounts Plugin::liveCounts() const {
  ResnetLiveCounts counts{};
  table_->liveCounts(&counts);
  return counts;
}

Result<std::shared_ptr<Backend>> Plugin::makeBackend(const BackendOptions& options) const {
  const ResnetBackendOptions given{options.device, options.memoryLimit};
  ResnetBackend* handle = nullptr;
  RESNET_RETURN_IF_ERROR(reported(
      [&](ResnetReport report) { return table_->createBackend(&given, report, &handle); }));
  auto backend = std::make_shared<const BackendHandle>(table_, handle);
  return std::shared_ptr<Backend>(std::make_shared<PluginBackend>(std::move(backend)));
}

}  // namespace resnet
