// The CPU's Backend: candidates of one ISA tier over the process's thread pool.
#pragma once

#include <memory>

#include "core/backend.h"
#include "cpu/thread_pool.h"

namespace resnet::cpu {

// Programs and lanes keep the pool; the caller must outlive what is in flight (core/backend.h).
std::shared_ptr<Backend> makeCpuBackend(std::shared_ptr<ThreadPool> pool);

}  // namespace resnet::cpu
