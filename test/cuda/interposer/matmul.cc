// A libcublasLt.so.13 for the same purpose: cuDNN opens the library when a handle is made, whether its
// engines multiply matrices or not. The convolutions asked for do not; what they would call is refused.
#include <cstddef>

namespace {
constexpr int kSuccess = 0, kNotSupported = 15;  // of cublasStatus_t
constexpr size_t kVersion = 130100;
int something;  // what every handle is
}  // namespace

#define RESNET_REFUSES(name) \
  int name() { return kNotSupported; }

extern "C" {
size_t cublasLtGetVersion() { return kVersion; }
int cublasLtCreate(void** handle) {
  *handle = &something;
  return kSuccess;
}
int cublasLtDestroy(void*) { return kSuccess; }
int cublasLtGetProperty(int property, int* value) {
  *value = property == 0 ? 13 : property == 1 ? 1 : 0;
  return kSuccess;
}
RESNET_REFUSES(cublasLtGroupedMatrixLayoutCreate)
RESNET_REFUSES(cublasLtMatmul)
RESNET_REFUSES(cublasLtMatmulAlgoGetHeuristic)
RESNET_REFUSES(cublasLtMatmulDescCreate)
RESNET_REFUSES(cublasLtMatmulDescDestroy)
RESNET_REFUSES(cublasLtMatmulDescGetAttribute)
RESNET_REFUSES(cublasLtMatmulDescInit_internal)
RESNET_REFUSES(cublasLtMatmulDescSetAttribute)
RESNET_REFUSES(cublasLtMatmulPreferenceCreate)
RESNET_REFUSES(cublasLtMatmulPreferenceDestroy)
RESNET_REFUSES(cublasLtMatmulPreferenceInit_internal)
RESNET_REFUSES(cublasLtMatmulPreferenceSetAttribute)
RESNET_REFUSES(cublasLtMatrixLayoutCreate)
RESNET_REFUSES(cublasLtMatrixLayoutDestroy)
RESNET_REFUSES(cublasLtMatrixLayoutGetAttribute)
RESNET_REFUSES(cublasLtMatrixLayoutInit_internal)
RESNET_REFUSES(cublasLtMatrixLayoutSetAttribute)
RESNET_REFUSES(cublasLtMatrixTransform)
RESNET_REFUSES(cublasLtMatrixTransformDescCreate)
RESNET_REFUSES(cublasLtMatrixTransformDescDestroy)
RESNET_REFUSES(cublasLtMatrixTransformDescGetAttribute)
RESNET_REFUSES(cublasLtMatrixTransformDescInit_internal)
RESNET_REFUSES(cublasLtMatrixTransformDescSetAttribute)
}
