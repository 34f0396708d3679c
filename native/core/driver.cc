#include "core/driver.h"

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace resnet {

std::string nvidiaDriverFile() {
  std::string file;
#if defined(__linux__)
  void* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return file;
  // An entry point that every driver has: whose file that is, the loader knows.
  Dl_info info = {};
  void* entry = dlsym(library, "cuInit");
  if (entry != nullptr && dladdr(entry, &info) != 0 && info.dli_fname != nullptr)
    file = info.dli_fname;
  dlclose(library);
#endif
  return file;
}

}  // namespace resnet
