// A libcuda.so.1 for machines without one. cuDNN's run-time compiled engines ask for a driver before
// they compile, and load what they compiled: loading is said to work, there is no device, and nothing
// can be launched.
namespace {
constexpr int kSuccess = 0, kNoDevice = 100;
int something;  // what every module, library and kernel is
}  // namespace

#define RESNET_LOADS(name)        \
  int name(const void** loaded) { \
    *loaded = &something;         \
    return kSuccess;              \
  }
#define RESNET_SUCCEEDS(name) \
  int name() { return kSuccess; }
#define RESNET_REFUSES(name) \
  int name() { return kNoDevice; }

extern "C" {
RESNET_LOADS(cuLibraryGetKernel)
RESNET_LOADS(cuLibraryLoadData)
RESNET_LOADS(cuModuleGetFunction)
RESNET_LOADS(cuModuleLoadData)
RESNET_LOADS(cuModuleLoadDataEx)
RESNET_LOADS(cuModuleLoadFatBinary)
RESNET_SUCCEEDS(cuFuncSetAttribute)
RESNET_SUCCEEDS(cuKernelSetAttribute)
RESNET_SUCCEEDS(cuLibraryUnload)
RESNET_SUCCEEDS(cuModuleUnload)
RESNET_REFUSES(cuCtxGetCurrent)
RESNET_REFUSES(cuCtxGetDevice)
RESNET_REFUSES(cuCtxGetLimit)
RESNET_REFUSES(cuCtxPopCurrent)
RESNET_REFUSES(cuCtxPushCurrent)
RESNET_REFUSES(cuDeviceGet)
RESNET_REFUSES(cuDeviceGetAttribute)
RESNET_REFUSES(cuDeviceGetCount)
RESNET_REFUSES(cuDevicePrimaryCtxRelease)
RESNET_REFUSES(cuDevicePrimaryCtxReset)
RESNET_REFUSES(cuDevicePrimaryCtxRetain)
RESNET_REFUSES(cuDriverGetVersion)
RESNET_REFUSES(cuFuncGetAttribute)
RESNET_REFUSES(cuGetErrorName)
RESNET_REFUSES(cuGetErrorString)
RESNET_REFUSES(cuInit)
RESNET_REFUSES(cuKernelGetAttribute)
RESNET_REFUSES(cuLaunchCooperativeKernel)
RESNET_REFUSES(cuLaunchKernel)
RESNET_REFUSES(cuLaunchKernelEx)
RESNET_REFUSES(cuLibraryLoadFromFile)
RESNET_REFUSES(cuLinkAddData)
RESNET_REFUSES(cuLinkAddData_v2)
RESNET_REFUSES(cuLinkAddFile_v2)
RESNET_REFUSES(cuLinkComplete)
RESNET_REFUSES(cuLinkCreate)
RESNET_REFUSES(cuLinkCreate_v2)
RESNET_REFUSES(cuLinkDestroy)
RESNET_REFUSES(cuMemcpyDtoH_v2)
RESNET_REFUSES(cuModuleGetGlobal_v2)
RESNET_REFUSES(cuOccupancyMaxActiveBlocksPerMultiprocessor)
RESNET_REFUSES(cuOccupancyMaxPotentialClusterSize)
RESNET_REFUSES(cuStreamGetCtx)
RESNET_REFUSES(cuStreamSynchronize)
RESNET_REFUSES(cuTensorMapEncodeTiled)
}
