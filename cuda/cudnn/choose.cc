#include "cuda/cudnn/choose.h"

#include <cstdio>
#include <utility>

namespace resnet::cuda {
namespace {

// What an entry of the cache answers: the graph, and what of the query changes the answer.
Result<std::string> question(const ConvolutionShape& shape, const ChooseOptions& options,
                             Autotune effort) {
  std::string text = shapeText(shape) + "\nworkspace " + std::to_string(options.workspaceLimit) +
                     " deterministic " + std::to_string(options.deterministic) + " effort " +
                     std::to_string(static_cast<int>(effort)) + " graphs " +
                     std::to_string(options.graphs);
  for (GraphForm form : {GraphForm::kPrecompiled, GraphForm::kGeneric, GraphForm::kMatmul}) {
    if (form == GraphForm::kMatmul && !isMatmul(shape)) continue;
    Result<std::string> graph = convolutionGraph(shape, form);
    if (!graph.ok()) return graph.takeStatus();
    text += "\n" + graph.value();
  }
  return text;
}

std::string timed(const std::string& name, double milliseconds) {
  char text[64];
  std::snprintf(text, sizeof text, ": %.4f ms", milliseconds);
  return name + text;
}

int wantedEngines(Autotune effort) {
  switch (effort) {
    case Autotune::kOff:
      return 1;
    case Autotune::kQuick:
      return 9;
    default:
      return 0;
  }
}

Result<EngineChoice> chooseAnew(CudnnContext& context, const ConvolutionShape& shape,
                                cudaStream_t stream, const ChooseOptions& options,
                                Autotune effort) {
  EngineChoice choice;
  const EngineQuery query{options.workspaceLimit, options.deterministic, wantedEngines(effort)};
  auto found = context.engines(shape, query, choice.refused);
  if (!found.ok()) return found.takeStatus();
  const auto& engines = found.value();
  choice.engine = engines.front();
  choice.name = choice.engine->name();
  if (effort == Autotune::kOff) return choice;
  Result<Standings> result =
      race(shape, engines, options.allocate, stream, {effort, options.graphs, options.control});
  if (!result.ok()) {
    // Without the memory for a race the order of preference still stands.
    if (result.status().code != Code::kOutOfMemory) return result.takeStatus();
    choice.refused.push_back("no race: " + result.status().message);
    return choice;
  }
  const Standings& ranking = result.value();
  choice.engine = engines[ranking.best];
  choice.name = choice.engine->name();
  choice.milliseconds = ranking.finishes[ranking.best].milliseconds;
  for (size_t i = 0; i < engines.size(); ++i) {
    if (i == ranking.best) continue;
    const Finish& finish = ranking.finishes[i];
    choice.refused.push_back(finish.refused.empty() ? timed(engines[i]->name(), finish.milliseconds)
                                                    : engines[i]->name() + ": " + finish.refused);
  }
  return choice;
}

}  // namespace

Result<EngineChoice> chooseEngine(CudnnContext& context, const ConvolutionShape& shape,
                                  cudaStream_t stream, const ChooseOptions& options) {
  const bool races = !options.deterministic && options.allocate != nullptr;
  const Autotune effort = races ? options.autotune : Autotune::kOff;
  std::string asked;
  if (options.cache != nullptr) {
    Result<std::string> text = question(shape, options, effort);
    if (!text.ok()) return text.takeStatus();
    asked = text.take();
    if (std::optional<StoredChoice> stored = options.cache->load(asked)) {
      auto engine = context.deserialise(shape, stored->engine);
      if (engine.ok() && engine.value()->workspaceBytes() <= options.workspaceLimit)
        return EngineChoice{engine.take(), std::move(stored->name), stored->milliseconds, true,
                            std::move(stored->refused)};
      if (!engine.ok() && engine.status().code != Code::kCorrupt) return engine.takeStatus();
      options.cache->remove(asked);  // this device or this cuDNN will have none of it
    }
  }
  Result<EngineChoice> choice = chooseAnew(context, shape, stream, options, effort);
  if (!choice.ok() || options.cache == nullptr) return choice;
  // A choice that a race was too short of memory for is not kept: the next start may have it.
  const bool settled = effort == Autotune::kOff || choice.value().milliseconds > 0;
  const EngineChoice& chosen = choice.value();
  const Result<std::string> bytes = settled ? chosen.engine->serialise() : std::string();
  // The cache only saves time: what cannot be stored is chosen again by the next start.
  if (settled && bytes.ok()) {
    const Status stored = options.cache->store(
        asked, {chosen.name, bytes.value(), chosen.milliseconds, chosen.refused});
    static_cast<void>(stored);
  }
  return choice;
}

}  // namespace resnet::cuda
