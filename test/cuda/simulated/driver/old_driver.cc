// A libcuda.so.1 of a driver for CUDA 12.8, with one device: what CUDA's own runtime, linked into the real
// build, asks before it refuses to work with a driver that is too old for it.
extern "C" {
int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* version) {
  *version = 12080;
  return 0;
}
int cuDeviceGetCount(int* count) {
  *count = 1;
  return 0;
}
int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return 0;
}
}
