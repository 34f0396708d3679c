// Plan to one Schedule of a CudaProgram, in three passes: an engine for every convolution, a place in the arena for
// every value and workspace, operations for every step.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuda/packing.h"
#include "cuda/program.h"
#include "cuda/workshop.h"

namespace resnet::cuda {

class Compiler {
 public:
  // `program` has its plan, device, options and cuDNN context, and takes the packed weights; `schedule`
  // says for how many images.
  Compiler(CudaProgram& program, Schedule& schedule, const Workshop& workshop,
           const Weights& weights, const Control& control);
  Status run();

 private:
  // A convolution as it will run. Equal shapes of a plan share an engine and its race.
  struct Engine {
    ConvolutionShape shape;
    std::shared_ptr<const ConvolutionEngine> engine;
    Choice choice;
  };

  Status chooseEngines();
  Result<Engine> chooseEngine(const ConvStep& step);
  Result<Engine> engineFor(const ConvolutionShape& shape);
  ConvolutionShape shapeOf(const ConvStep& step, bool joinGroups) const;
  void placeValues();
  Status foldWeights();
  Status foldStep(size_t s, const ConvStep& step) noexcept;

  Status lower(int s);
  Status lower(int s, const ConvStep& step);
  Status lower(int s, const PoolStep& step);
  Status lower(int s, const AffineStep& step);
  Status lower(int s, const InputStep& step);
  void lower(int s, const OutputStep& step);

  Status keepFloats(const std::string& key, const std::vector<float>& floats, const float*& data);
  void keep(std::shared_ptr<const PackedBuffer> buffer);

  // A value's memory in any arena.
  struct Place;
  Place place(ValueId v) const;
  // kernel(views of `values` in order, stream) becomes the step's operation; a kernel that takes an order of
  // images before the stream reads the first value and writes the second.
  template <typename Kernel>
  void addKernel(int s, const std::vector<ValueId>& values, const char* name, Kernel kernel);

  ImageOrder against(ValueId value) const;
  Operation& addOperation(int s);

  CudaProgram& program_;
  Schedule& schedule_;
  const Workshop& workshop_;
  const Weights& weights_;
  const Control& control_;
  const Plan& plan_;
  Device& device_;
  std::vector<View> views_;         // of a track's images; data is null
  std::vector<ImageOrder> orders_;  // in which values are written, where orders alternate
  std::vector<size_t> offsets_;     // of values in the arena
  std::vector<size_t> workspaces_;  // offsets of the steps' workspaces
  std::vector<Engine> distinct_;
  std::vector<Engine> engines_;      // by step
  std::vector<HostWeights> folded_;  // by step, until uploaded
};

}  // namespace resnet::cuda
