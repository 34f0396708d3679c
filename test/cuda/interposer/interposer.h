// How a test puts the interposer in place: open it by its path, call this, then name it in RESNET_CUDNN.
#pragma once

extern "C" {
// The real library, opened by the first call, and the device that descriptors finalised from now on are
// for, as cuDNN itself writes it. Null, or why not.
const char* resnetInterpose(const char* libraryPath, const char* deviceJson);
}
