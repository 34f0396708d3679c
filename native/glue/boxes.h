// What each kind of handle owns. Work in flight shares a box, so disposing a handle never pulls one from under it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/checkpoint.h"
#include "core/control.h"
#include "core/plugin_backend.h"
#include "core/weights.h"
#include "glue/counters.h"
#include "glue/handle.h"
#include "glue/settle.h"
#include "image/pixels.h"

namespace resnet::glue {

struct ControlBox {
  static constexpr HandleClass kClass = HandleClass::kControl;
  static constexpr const char* kName = "Control";
  static const napi_type_tag kTag;
  static std::vector<napi_property_descriptor> methods();
  int64_t externalBytes() const { return 0; }

  std::shared_ptr<Control> control;
};

struct CheckpointBox {
  static constexpr HandleClass kClass = HandleClass::kCheckpoint;
  static constexpr const char* kName = "Checkpoint";
  static const napi_type_tag kTag;
  static std::vector<napi_property_descriptor> methods();
  int64_t externalBytes() const { return bytes; }

  std::shared_ptr<const Checkpoint> checkpoint;
  int64_t bytes = 0;  // owned; 0 for a file
  Counted<&LiveCounts::checkpoints> counted;
};

struct WeightsBox {
  static constexpr HandleClass kClass = HandleClass::kWeights;
  static constexpr const char* kName = "Weights";
  static const napi_type_tag kTag;
  static std::vector<napi_property_descriptor> methods();
  int64_t externalBytes() const { return bytes; }

  std::shared_ptr<const Weights> weights;
  int64_t bytes = 0;  // owned; 0 where a checkpoint holds them
  Counted<&LiveCounts::weights> counted;
};

struct PluginBox {
  static constexpr HandleClass kClass = HandleClass::kPlugin;
  static constexpr const char* kName = "Plugin";
  static const napi_type_tag kTag;
  static std::vector<napi_property_descriptor> methods();
  int64_t externalBytes() const { return 0; }

  std::shared_ptr<const Plugin> plugin;
  std::string path;
};

// A device that was opened; what was made with it shares it.
struct OpenDevice {
  std::string name;  // "cuda:0"
  std::shared_ptr<Backend> backend;
};

struct DeviceBox {
  static constexpr HandleClass kClass = HandleClass::kDevice;
  static constexpr const char* kName = "Device";
  static const napi_type_tag kTag;
  static std::vector<napi_property_descriptor> methods();
  int64_t externalBytes() const { return 0; }

  std::shared_ptr<const OpenDevice> device;
  Counted<&LiveCounts::devices> counted;
};

struct DeviceMemoryBox {
  static constexpr HandleClass kClass = HandleClass::kDeviceMemory;
  static constexpr const char* kName = "DeviceMemory";
  static const napi_type_tag kTag;
  static std::vector<napi_property_descriptor> methods();
  int64_t externalBytes() const { return 0; }  // not of the host's memory

  std::shared_ptr<const OpenDevice> device;
  std::shared_ptr<DeviceBuffer> buffer;
  Counted<&LiveCounts::deviceMemories> counted;
};

// A decoded image for an input that resizes.
struct PictureBox {
  static constexpr HandleClass kClass = HandleClass::kPicture;
  static constexpr const char* kName = "Picture";
  static const napi_type_tag kTag;
  static std::vector<napi_property_descriptor> methods();
  int64_t externalBytes() const { return int64_t(picture.pitch) * picture.y.held; }

  PictureBox(image::PixelBuffer decoded, const uint8_t* first, const Picture& made)
      : pixels(std::move(decoded)), data(first), picture(made) {}

  image::PixelBuffer pixels;
  const uint8_t* data;  // of the first pixel that is held
  Picture picture;
  Counted<&LiveCounts::pictures> counted;
};

// What a submission must bring, per image: a tensor, or a picture for [h, w, c].
struct Port {
  napi_typedarray_type type;
  size_t elements;
  bool pictures = false;
  int h = 1, w = 1, c = 1;
};

struct ProgramBox {
  static constexpr HandleClass kClass = HandleClass::kProgram;
  static constexpr const char* kName = "Program";
  static const napi_type_tag kTag;
  static std::vector<napi_property_descriptor> methods();
  int64_t externalBytes() const { return int64_t(program->weightBytes()); }

  std::shared_ptr<const Program> program;
  std::shared_ptr<const OpenDevice> device;  // null: the CPU
  std::vector<Port> inputs, outputs;
  int maxBatch = 1;
  Counted<&LiveCounts::programs> counted;
};

struct LaneBox {
  static constexpr HandleClass kClass = HandleClass::kLane;
  static constexpr const char* kName = "Lane";
  static const napi_type_tag kTag;
  static std::vector<napi_property_descriptor> methods();
  int64_t externalBytes() const { return int64_t(program->program->arenaBytes()); }

  std::shared_ptr<const ProgramBox> program;  // outlives the lane: declared before it
  std::unique_ptr<Lane> lane;
  int running = 0;                              // runs not yet settled
  std::unique_ptr<Promised<Nothing>> disposal;  // dispose() was called; waits for those
  Counted<&LiveCounts::lanes> counted;
};

}  // namespace resnet::glue
