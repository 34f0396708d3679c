# The backend by the host's compiler: included by cuda/CMakeLists.txt, with resnet_core and resnet_cpu at hand.
#   resnet_cuda_kernels   the kernels alone: every launch runs at once, no CUDA runtime is needed
#   resnet_cuda_code      the whole backend, as a library that tests link and look into
#   resnet_cuda_simulated libresnet_cuda.so, for what loads the plugin by its path
# The sources are those of the real build, compiled once.
cmake_policy(SET CMP0119 NEW)
set_source_files_properties(${CUDA_KERNELS} PROPERTIES LANGUAGE CXX)
# CMake refuses a library without a source.
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/empty.cc "")
list(APPEND CUDA_KERNELS ${CMAKE_CURRENT_BINARY_DIR}/empty.cc)
list(APPEND CUDA_SOURCES ${CMAKE_CURRENT_BINARY_DIR}/empty.cc)

# What runs on the device, as opposed to beside it. ThreadSanitizer would make one thread of each thread of the kernels that
# share a stack; test/cuda/simulated/order.h has what it is told instead.
if(RESNET_SANITIZE STREQUAL "thread")
  set(RESNET_ON_DEVICE -fno-sanitize=thread)
endif()

add_library(resnet_cuda_kernels OBJECT ${CUDA_KERNELS})
target_link_libraries(resnet_cuda_kernels PUBLIC resnet_cuda_headers)
target_compile_options(resnet_cuda_kernels PRIVATE ${RESNET_WARNINGS} ${RESNET_ON_DEVICE})
add_library(resnet_cuda_code OBJECT ${CUDA_SOURCES})
target_link_libraries(resnet_cuda_code PUBLIC resnet_cuda_headers resnet_core)
target_compile_options(resnet_cuda_code PRIVATE ${RESNET_WARNINGS} ${RESNET_NO_FALSE_WARNING})

add_subdirectory(${RESNET_ROOT}/test/cuda ${CMAKE_BINARY_DIR}/test/cuda)
