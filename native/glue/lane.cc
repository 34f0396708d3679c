#include <string>
#include <utility>

#include "glue/arguments.h"
#include "glue/boxes.h"
#include "glue/functions.h"

namespace resnet::glue {
namespace {

// A caller's share of one input or output: a view of the host's memory, a part of a device's, or a picture.
struct Piece {
  Napi::TypedArray view;
  std::shared_ptr<DeviceMemoryBox> memory;  // null: the view, or the picture
  size_t offset = 0, bytes = 0;
  std::shared_ptr<PictureBox> picture;
};
using Pieces = std::vector<std::vector<Piece>>;

size_t elementBytes(napi_typedarray_type type) {
  if (type == napi_uint8_array) return 1;
  return type == napi_uint16_array ? 2 : 4;
}

// { memory, offset, bytes }
Piece readDevicePiece(const Napi::Value& value, const std::string& where, const ProgramBox& program,
                      Arguments& call) {
  Arguments fields(value, where);
  Piece piece;
  piece.memory = fields.handle<DeviceMemoryBox>("memory");
  piece.offset = size_t(fields.integer("offset", 0, kMaxSafeInteger));
  piece.bytes = size_t(fields.integer("bytes", 0, kMaxSafeInteger));
  call.adopt(fields.status());
  if (!call.status().ok()) return {};
  const std::string device = program.device == nullptr ? "the CPU" : program.device->name;
  if (piece.memory->device->name != device) {
    call.refuse("'" + where + "' must lie on the program's device, " + device + ", got memory of " +
                piece.memory->device->name);
    return {};
  }
  const size_t size = piece.memory->buffer->bytes();
  if (piece.bytes > size || piece.offset > size - piece.bytes) {
    call.refuse("'" + where + "' must lie within its memory of " + std::to_string(size) +
                " bytes, got " + std::to_string(piece.bytes) + " at " +
                std::to_string(piece.offset));
    return {};
  }
  return piece;
}

// { picture }
Piece readPicture(const Napi::Value& value, const std::string& where, const Port& port,
                  Arguments& call) {
  Arguments fields(value, where);
  Piece piece;
  piece.picture = fields.handle<PictureBox>("picture");
  call.adopt(fields.status());
  if (!call.status().ok()) return {};
  const std::string misfit = pictureMisfit(piece.picture->picture, port.h, port.w, port.c);
  if (misfit.empty()) return piece;
  call.refuse("'" + where + "' must be a picture for this input: " + misfit);
  return {};
}

// First half of reading a call's tensors: kinds only. Getters of the caller's may run here, so no address is taken.
Pieces readViews(Arguments& call, const char* name, const std::vector<Port>& ports,
                 const ProgramBox& program) {
  const std::vector<Napi::Value> lists = call.list(name);
  if (lists.size() != ports.size()) {
    call.refuse("'run." + std::string(name) +
                "' must have one list of pieces for each of the plan's " +
                std::to_string(ports.size()) + ", got " + std::to_string(lists.size()));
    return {};
  }
  Pieces pieces(ports.size());
  for (size_t i = 0; i < ports.size(); ++i) {
    const std::string where = std::string(name) + "[" + std::to_string(i) + "]";
    if (!lists[i].IsArray()) {
      call.refuse(where, "an array of views", lists[i]);
      return {};
    }
    const Napi::Array list = lists[i].As<Napi::Array>();
    for (uint32_t p = 0; p < list.Length() && call.status().ok(); ++p) {
      const std::string piece = where + "[" + std::to_string(p) + "]";
      const Napi::Value value = list.Get(p);
      const bool onDevice = value.IsObject() && !value.IsTypedArray() && !value.IsFunction() &&
                            program.device != nullptr;
      if (ports[i].pictures) {
        pieces[i].push_back(readPicture(value, "run." + piece, ports[i], call));
      } else if (onDevice) {
        pieces[i].push_back(readDevicePiece(value, "run." + piece, program, call));
      } else {
        pieces[i].push_back({call.view(value, piece, ports[i].type), nullptr});
      }
    }
  }
  return pieces;
}

// Second half: addresses and sizes. No JavaScript runs from here until the submission.
void pushPicture(const PictureBox& box, std::vector<InputPiece>& pieces) {
  pieces.push_back({box.data, 1, false, box.picture});
}
void pushPicture(const PictureBox&, std::vector<OutputPiece>&) {}  // outputs have none

template <typename Submitted>
Status readPieces(const char* name, const Pieces& given, const std::vector<Port>& ports, int batch,
                  std::vector<std::vector<Submitted>>& pieces) {
  pieces.resize(ports.size());
  for (size_t i = 0; i < ports.size(); ++i) {
    const std::string where = "'run." + std::string(name) + "[" + std::to_string(i) + "]'";
    const size_t elementSize = elementBytes(ports[i].type);
    size_t images = 0;
    for (const Piece& piece : given[i]) {
      if (piece.picture != nullptr) {
        if (++images > size_t(batch)) break;
        pushPicture(*piece.picture, pieces[i]);
        continue;
      }
      Span span;
      const bool onDevice = piece.memory != nullptr;
      if (onDevice) {
        span.data = static_cast<char*>(piece.memory->buffer->data()) + piece.offset;
        span.elements = piece.bytes % elementSize == 0 ? piece.bytes / elementSize : 0;
      } else {
        span = spanOf(piece.view);
      }
      if (span.elements == 0 || span.elements % ports[i].elements != 0) {
        return Status::error(Code::kInvalidArgument,
                             where + " must have pieces of whole images, " +
                                 std::to_string(ports[i].elements) + " elements each, got " +
                                 std::to_string(span.elements) + " elements");
      }
      const size_t count = span.elements / ports[i].elements;
      images += count;
      if (images > size_t(batch)) break;
      pieces[i].push_back({span.data, int(count), onDevice});
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

// What a submission borrows: one object that holds every view, the reference to which keeps their buffers alive,
// the device's memory and pictures.
struct Borrowed {
  Napi::Array views;
  std::vector<std::shared_ptr<DeviceMemoryBox>> memories;
  std::vector<std::shared_ptr<PictureBox>> pictures;
};
Borrowed borrow(Napi::Env env, const Pieces& inputs, const Pieces& outputs) {
  Borrowed all{Napi::Array::New(env), {}, {}};
  for (const Pieces* pieces : {&inputs, &outputs}) {
    for (const auto& list : *pieces) {
      for (const Piece& piece : list) {
        if (piece.memory != nullptr) {
          all.memories.push_back(piece.memory);
        } else if (piece.picture != nullptr) {
          all.pictures.push_back(piece.picture);
        } else {
          all.views.Set(all.views.Length(), piece.view);
        }
      }
    }
  }
  return all;
}

// Frees a lane's arena on another thread, and then resolves the promise of dispose().
void release(Environment& environment, std::shared_ptr<LaneBox> box) {
  auto disposal = std::move(box->disposal);
  freeThenSettle(environment, std::move(box), std::move(disposal));
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
  std::vector<std::shared_ptr<DeviceMemoryBox>> memories;
  std::vector<std::shared_ptr<PictureBox>> pictures;
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
  const Pieces inputs = readViews(call, "inputs", program.inputs, program);
  const Pieces outputs = readViews(call, "outputs", program.outputs, program);
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
  Borrowed borrowed = borrow(env, inputs, outputs);
  task->kept = Napi::Persistent<Napi::Object>(borrowed.views);
  task->memories = std::move(borrowed.memories);
  task->pictures = std::move(borrowed.pictures);
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
