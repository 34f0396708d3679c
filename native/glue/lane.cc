#include <string>
#include <utility>

#include "glue/arguments.h"
#include "glue/boxes.h"
#include "glue/functions.h"

namespace resnet::glue {
namespace {

using Views = std::vector<std::vector<Napi::TypedArray>>;

// First half of reading a call's tensors: kinds only. Getters of the caller's may run here, so no address is taken.
Views readViews(Arguments& call, const char* name, const std::vector<Port>& ports) {
  const std::vector<Napi::Value> lists = call.list(name);
  if (lists.size() != ports.size()) {
    call.refuse("'run." + std::string(name) +
                "' must have one list of pieces for each of the plan's " +
                std::to_string(ports.size()) + ", got " + std::to_string(lists.size()));
    return {};
  }
  Views views(ports.size());
  for (size_t i = 0; i < ports.size(); ++i) {
    const std::string where = std::string(name) + "[" + std::to_string(i) + "]";
    if (!lists[i].IsArray()) {
      call.refuse(where, "an array of views", lists[i]);
      return {};
    }
    const Napi::Array pieces = lists[i].As<Napi::Array>();
    for (uint32_t p = 0; p < pieces.Length() && call.status().ok(); ++p) {
      const std::string piece = where + "[" + std::to_string(p) + "]";
      views[i].push_back(call.view(pieces.Get(p), piece, ports[i].type));
    }
  }
  return views;
}

// Second half: addresses and sizes. No JavaScript runs from here until the submission.
template <typename Piece>
Status readPieces(const char* name, const Views& views, const std::vector<Port>& ports, int batch,
                  std::vector<std::vector<Piece>>& pieces) {
  pieces.resize(ports.size());
  for (size_t i = 0; i < ports.size(); ++i) {
    const std::string where = "'run." + std::string(name) + "[" + std::to_string(i) + "]'";
    size_t images = 0;
    for (const Napi::TypedArray& view : views[i]) {
      const Span span = spanOf(view);
      if (span.elements == 0 || span.elements % ports[i].elements != 0) {
        return Status::error(Code::kInvalidArgument,
                             where + " must have pieces of whole images, " +
                                 std::to_string(ports[i].elements) + " elements each, got " +
                                 std::to_string(span.elements) + " elements");
      }
      const size_t count = span.elements / ports[i].elements;
      images += count;
      if (images > size_t(batch)) break;
      pieces[i].push_back({span.data, int(count)});
    }
    if (images != size_t(batch)) {
      return Status::error(Code::kInvalidArgument, where + " must hold the batch's " +
                                                       std::to_string(batch) + " images, got " +
                                                       std::to_string(images) +
                                                       (images > size_t(batch) ? " or more" : ""));
    }
  }
  return Status::okay();
}

// One object that holds every view of a submission: the reference to it keeps their buffers alive.
Napi::Object holding(Napi::Env env, const Views& inputs, const Views& outputs) {
  Napi::Array all = Napi::Array::New(env);
  for (const Views* views : {&inputs, &outputs}) {
    for (const auto& list : *views) {
      for (const Napi::TypedArray& view : list) all.Set(all.Length(), view);
    }
  }
  return all;
}

// Frees a lane's arena on another thread, and then resolves the promise of dispose().
void release(Environment& environment, std::shared_ptr<LaneBox> box) {
  auto* task = box->disposal.release();
  environment.begin();
  auto last = std::make_shared<std::shared_ptr<LaneBox>>(std::move(box));
  auto job = [environment = environment.shared_from_this(), last, task] {
    last->reset();
    task->result = Nothing{};
    environment->finish(std::unique_ptr<Task>(task));
  };
  if (!environment.enqueue(job)) job();
}

// A run of this lane has settled.
void runSettled(Environment& environment, std::shared_ptr<LaneBox> box) {
  if (--box->running > 0) return;
  if (box->disposal != nullptr) {
    release(environment, std::move(box));
  } else if (box.use_count() == 1) {  // its handle was collected
    environment.discard(std::move(box));
  }
}

struct Run final : Promised<Nothing> {
  using Promised::Promised;
  Counted<&LiveCounts::runsInFlight> counted;
};

Result<Napi::Value> run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Result<std::shared_ptr<LaneBox>> receiver = liveReceiver<LaneBox>(info);
  if (!receiver.ok()) return receiver.takeStatus();
  const ProgramBox& program = *receiver.value()->program;

  Arguments call(info, "run");
  Submission submission;
  submission.batch = int(call.integer("batch", 1, program.maxBatch));
  const Views inputs = readViews(call, "inputs", program.inputs);
  const Views outputs = readViews(call, "outputs", program.outputs);
  const std::shared_ptr<Control> control = call.control();
  RESNET_RETURN_IF_ERROR(call.status());
  RESNET_RETURN_IF_ERROR(
      readPieces("inputs", inputs, program.inputs, submission.batch, submission.inputs));
  RESNET_RETURN_IF_ERROR(
      readPieces("outputs", outputs, program.outputs, submission.batch, submission.outputs));
  if (control->stop()) return Status::aborted();

  Environment& environment = Environment::of(env);
  auto* task = new Run(env, undefined);  // owned by the backend's callback, then by finish()
  const Napi::Value promise = task->promise();
  task->kept = Napi::Persistent(holding(env, inputs, outputs));
  LaneBox* lane = receiver.value().get();
  ++lane->running;
  task->after = [&environment, box = receiver.take()]() mutable {
    runSettled(environment, std::move(box));
  };
  environment.begin();
  lane->lane->submit(std::move(submission), control,
                     [environment = environment.shared_from_this(), task](Status status) {
                       task->result = status.ok() ? Result<Nothing>(Nothing{})
                                                  : Result<Nothing>(std::move(status));
                       environment->finish(std::unique_ptr<Task>(task));
                     });
  return promise;
}

Result<Napi::Value> disposeLane(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Result<Handle<LaneBox>*> handle = receiver<LaneBox>(info);
  if (!handle.ok()) return handle.takeStatus();
  std::shared_ptr<LaneBox> box = handle.value()->take(env);
  if (box == nullptr) {
    Deferred done(env);
    done.resolve(env.Undefined());
    return done.promise();
  }
  box->disposal = std::make_unique<Promised<Nothing>>(env, undefined);
  const Napi::Value promise = box->disposal->promise();
  if (box->running == 0) release(Environment::of(env), std::move(box));
  return promise;
}

}  // namespace

const napi_type_tag LaneBox::kTag = {0xe89b362f5d704c17, 0x94ad0c6e71f2b805};

std::vector<napi_property_descriptor> LaneBox::methods() {
  return {method("run", rejecting<run>), method("dispose", rejecting<disposeLane>)};
}

Result<Napi::Value> createLane(const Napi::CallbackInfo& info) {
  Result<std::shared_ptr<ProgramBox>> program = liveReceiver<ProgramBox>(info);
  if (!program.ok()) return program.takeStatus();
  using Box = std::shared_ptr<LaneBox>;
  return promiseOf<Box>(
      info.Env(),
      [program = program.take()]() -> Result<Box> {
        Result<std::unique_ptr<Lane>> lane = program->program->createLane();
        if (!lane.ok()) return lane.takeStatus();
        auto box = std::make_shared<LaneBox>();
        box->program = program;
        box->lane = lane.take();
        return box;
      },
      [](Napi::Env env, Box box) { return makeHandle(env, std::move(box)); });
}

}  // namespace resnet::glue
