#include "test/cuda/described_cudnn.h"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "test/cuda/interposer/interposer.h"
#include "test/native/check.h"

namespace resnet::cuda::test {
namespace {

const std::string kFolder = RESNET_TEST_FOLDER, kInterposer = RESNET_INTERPOSER_FOLDER;

std::string realLibrary() {
  const char* named = std::getenv("RESNET_REAL_CUDNN");
  return named != nullptr ? named : RESNET_REAL_CUDNN;
}

}  // namespace

bool realCudnnInstalled(const std::string& test) {
  if (::access(realLibrary().c_str(), R_OK) == 0) return true;
  resnet::test::skip(test, "no cuDNN at \"" + realLibrary() + "\"; name it in RESNET_REAL_CUDNN");
  return false;
}

void inOwnProcesses(const std::vector<std::function<void()>>& bodies) {
  constexpr size_t kAtOnce = 2;
  int& faults = resnet::test::Registry::get().faults;
  size_t running = 0;
  const auto join = [&] {
    int status = 0;
    CHECK(::wait(&status) > 0);
    // Ended by a signal: one fault, and the shell's way to name it.
    if (WIFSIGNALED(status))
      resnet::test::fault(__FILE__, __LINE__,
                          "ended by signal " + std::to_string(WTERMSIG(status)));
    else
      faults += WEXITSTATUS(status);
    --running;
  };
  for (const auto& body : bodies) {
    if (running == kAtOnce) join();
    std::fflush(stdout);
    const pid_t child = ::fork();
    CHECK(child >= 0);
    if (child == 0) {
      faults = 0;
      body();
      std::fflush(stdout);
      ::_exit(std::min(faults, 255));
    }
    ++running;
  }
  while (running > 0) join();
}

size_t describeDevice(const std::string& device) {
  static void* interposer = [] {
    // First, so that cuDNN finds them by their names.
    for (const char* name : {"/libcuda.so.1", "/libcublasLt.so.13"})
      CHECK(dlopen((kInterposer + name).c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr);
    const std::string path = kInterposer + "/libcudnn.so.9";
    ::setenv("RESNET_CUDNN", path.c_str(), 1);
    return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  }();
  CHECK(interposer != nullptr);
  const auto interpose =
      reinterpret_cast<decltype(&resnetInterpose)>(dlsym(interposer, "resnetInterpose"));
  const char* reason =
      interpose(realLibrary().c_str(), testFile("devices/" + device + ".json").c_str());
  if (reason != nullptr) resnet::test::fault(__FILE__, __LINE__, device + ": " + reason);
  const Result<CudnnLibrary> library = openCudnn();
  if (!library.ok()) resnet::test::fault(__FILE__, __LINE__, library.status().message);
  return library.ok() ? library.value().version : 0;
}

std::unique_ptr<CudnnContext> contextFor(const std::string& device) {
  describeDevice(device);
  Result<std::unique_ptr<CudnnContext>> context = makeCudnnContext();
  CHECK(context.ok());
  return context.take();
}

std::vector<ConvolutionRow> convolutionTable() {
  std::istringstream file(testFile("convolutions.txt"));
  std::vector<ConvolutionRow> rows;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream fields(line);
    ConvolutionRow row;
    ConvolutionShape& s = row.shape;
    fields >> s.c >> s.h >> s.w >> s.k >> s.kernelH >> s.kernelW >> s.strideH >> s.strideW >>
        s.padH >> s.padW >> s.dilationH >> s.dilationW >> s.groups >> s.residual >> s.relu >>
        row.toFloat32 >> row.layer;
    CHECK(!fields.fail());
    rows.push_back(row);
  }
  CHECK(rows.size() > 90);
  return rows;
}

std::string testFile(const std::string& name) {
  std::ifstream file(kFolder + "/" + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace resnet::cuda::test
