// The functions of binding.d.ts that are not methods.
#pragma once

#include "glue/settle.h"

namespace resnet::glue {

Result<Napi::Value> cpuInfo(const Napi::CallbackInfo& info);
Result<Napi::Value> counters(const Napi::CallbackInfo& info);
Result<Napi::Value> measureLimits(const Napi::CallbackInfo& info);
Result<Napi::Value> createControl(const Napi::CallbackInfo& info);
Result<Napi::Value> openCheckpoint(const Napi::CallbackInfo& info);
Result<Napi::Value> weightsFromCheckpoint(const Napi::CallbackInfo& info);
Result<Napi::Value> weightsFromTensors(const Napi::CallbackInfo& info);
Result<Napi::Value> weightsFromFormula(const Napi::CallbackInfo& info);
Result<Napi::Value> openJpegLibrary(const Napi::CallbackInfo& info);
Result<Napi::Value> prepareJpeg(const Napi::CallbackInfo& info);
Result<Napi::Value> preparePixels(const Napi::CallbackInfo& info);
Result<Napi::Value> decodeJpeg(const Napi::CallbackInfo& info);
Result<Napi::Value> decodePixels(const Napi::CallbackInfo& info);
Result<Napi::Value> nvidiaDriver(const Napi::CallbackInfo& info);
Result<Napi::Value> openPlugin(const Napi::CallbackInfo& info);
Result<Napi::Value> compile(const Napi::CallbackInfo& info);

// What createLane of a program does; here since a lane's file makes it.
Result<Napi::Value> createLane(const Napi::CallbackInfo& info);

}  // namespace resnet::glue
