// One table of conv and linear cases, on every candidate and every ISA tier of the host, against a
// naive reference in double. Arguments filter by substring of the case's name:
//   conv_op_test "[avx512 direct]" groups
// Tolerance: 2e-5 of max|reference|, the bound that dtype float32 promises.
#include <algorithm>
#include <cstdio>

#include "conv_harness.h"
#include "cpu/conv/candidates.h"
#include "cpu/linear/candidates.h"

using namespace resnet;
using namespace resnet::cpu;
using namespace resnet::cpu::harness;

namespace {

constexpr double kTolerance = 2e-5;

int passed = 0, failed = 0;
std::vector<std::string> filters;

bool selected(const std::string& name) {
  return std::all_of(filters.begin(), filters.end(),
                     [&](const std::string& f) { return name.find(f) != std::string::npos; });
}

void report(const std::string& name, const std::string& error) {
  ++(error.empty() ? passed : failed);
  if (!error.empty()) std::printf("FAILED %s: %s\n", name.c_str(), error.c_str());
}

std::string describe(const char* format, auto... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

// [n][k][p][q], from the parameters as the checkpoint holds them.
std::vector<double> reference(const ConvProblem& problem) {
  const ConvCase& t = problem.test;
  const std::vector<float>& w = problem.weights.values("w");
  const int perGroupIn = t.c / t.groups, perGroupOut = t.k / t.groups;
  std::vector<float> x(size_t(t.n) * t.c * t.h * t.w);
  for (size_t i = 0; i < x.size(); ++i) x[i] = formula(7, i) + (t.positive ? 1 : 0);
  std::vector<double> out;
  out.reserve(size_t(t.n) * t.k * t.p() * t.q());
  for (int i = 0; i < t.n; ++i) {
    for (int k = 0; k < t.k; ++k) {
      for (int p = 0; p < t.p(); ++p) {
        for (int q = 0; q < t.q(); ++q) {
          double sum = 0;
          for (int c = 0; c < perGroupIn; ++c) {
            const int channel = k / perGroupOut * perGroupIn + c;
            for (int r = 0; r < t.kernel.h; ++r) {
              const int y = p * t.stride.h - t.padding.h + r * t.dilation.h;
              if (y < 0 || y >= t.h) continue;
              for (int s = 0; s < t.kernel.w; ++s) {
                const int xx = q * t.stride.w - t.padding.w + s * t.dilation.w;
                if (xx < 0 || xx >= t.w) continue;
                sum += double(x[((size_t(i) * t.c + channel) * t.h + y) * t.w + xx]) *
                       w[((size_t(k) * perGroupIn + c) * t.kernel.h + r) * t.kernel.w + s];
              }
            }
          }
          auto at = [&](const char* name) { return double(problem.weights.values(name)[k]); };
          if (t.bias) sum += at("b");
          if (t.norm)
            sum = (sum - at("mean")) / std::sqrt(at("var") + 1e-5) * at("gamma") + at("beta");
          if (t.residual) sum += formula(8, out.size());
          out.push_back(t.relu ? std::max(sum, 0.0) : sum);
        }
      }
    }
  }
  return out;
}

std::string compare(ConvRun& run, const std::vector<double>& expected) {
  const ConvCase& t = run.problem.test;
  double range = 0;
  for (double e : expected) range = std::max(range, std::abs(e));
  const Layout& l = run.layouts[1];
  std::vector<bool> isValue(l.imageFloats());
  for (int i = 0; i < t.n; ++i) {
    const float* image = run.views[1].image(i);
    for (int k = 0; k < t.k; ++k) {
      for (int p = 0; p < t.p(); ++p) {
        for (int q = 0; q < t.q(); ++q) {
          const size_t index = l.at(k / kBlock, p, q) + k % kBlock;
          const double e = expected[((size_t(i) * t.k + k) * t.p() + p) * t.q() + q];
          isValue[index] = true;
          if (!(std::abs(image[index] - e) <= kTolerance * range)) {
            return describe("n%d k%d p%d q%d: expected %.9g, got %.9g (error %.2g of the range)", i,
                            k, p, q, e, image[index], std::abs(image[index] - e) / range);
          }
        }
      }
    }
    for (size_t index = 0; index < l.blocks() * l.blockPitch(); ++index) {
      if (!isValue[index] && image[index] != 0) {
        return describe(
            "float %zu of image %d belongs to the halo or to padded channels: expected 0, got %g",
            index, i, image[index]);
      }
    }
    for (size_t gap = l.imageFloats(); gap < run.views[1].imageStride; ++gap) {
      if (!std::isnan(image[gap])) return describe("wrote behind image %d", i);
    }
  }
  for (size_t v = 0; v < 3; ++v) {
    if (!run.buffers[v]->intact()) return describe("guard around value %zu overwritten", v);
  }
  if (!run.scratch->intact()) return "guard around scratch overwritten";
  return {};
}

void runConv(const ConvProblem& problem, const std::vector<double>& expected,
             const Candidate& candidate, Isa isa) {
  const std::string name = problem.test.name() + " [" + isaName(isa) + " " + candidate.name() + "]";
  if (!selected(name) || !canRun(candidate, problem.query(isa))) return;
  ConvRun run(problem, candidate, isa);
  if (!run.status.ok()) return report(name, run.status.message);
  run.run();
  std::string error = compare(run, expected);
  if (error.empty() && !problem.test.alias) {  // a kernel is reusable
    run.run();
    error = compare(run, expected);
    if (!error.empty()) error = "second run: " + error;
  }
  report(name, error);
}

void linearCase(int n, int c, int k, bool bias, int threads, Isa isa) {
  const std::string name = describe("linear f32 n%d c%d k%d%s threads%d [%s]", n, c, k,
                                    bias ? " bias" : "", threads, isaName(isa));
  if (!selected(name)) return;
  ConvCase test{.n = n, .c = c, .h = 1, .w = 1, .k = k, .kernel = {1, 1}, .padding = {0, 0}};
  test.norm = false;
  test.bias = bias;
  test.threads = threads;
  ConvProblem problem(test);
  const std::vector<double> expected = reference(problem);
  LinearStep linear{0, 1, k, "w", bias ? "b" : ""};
  problem.plan.steps = {{StepKind::kLinear, "fc", linear}};
  ConvRun run(problem, linearCandidate(), isa);
  if (!run.status.ok()) return report(name, run.status.message);
  run.run();
  report(name, compare(run, expected));
}

// Which candidate a layer gets, in the order of preference; the reason with which Winograd F(4x4)
// is refused.
struct Choice {
  ConvCase layer;
  const char* chosen;
  const char* refusal;  // of winograd f4x4; "" when it is chosen
  Float32Precision precision = Float32Precision::kHigh;
};

void choices(Isa isa) {
  auto layer = [](int c, int size, int k, int kernel, int stride, int n = 1) {
    ConvCase t{.n = n, .c = c, .h = size, .w = size, .k = k};
    t.kernel = {kernel, kernel};
    t.stride = {stride, stride};
    t.padding = {kernel / 2, kernel / 2};
    return t;
  };
  ConvCase grouped = layer(128, 56, 128, 3, 1), dilated = layer(512, 28, 512, 3, 1);
  grouped.groups = 32;
  dilated.dilation = dilated.padding = {2, 2};
  // Where a core does more in the time in which weights come, fewer of them are better.
  const Choice small =
      hostBalance(isa).multiplyAdds > 16
          ? Choice{layer(256, 14, 256, 3, 1), "winograd f2x2", "estimated at 102% of f2x2's time"}
          : Choice{layer(256, 14, 256, 3, 1), "winograd f4x4", ""};
  const Choice table[] = {
      small,
      {layer(3, 224, 64, 7, 2), "direct thin", "kernel 7x7"},
      {layer(64, 56, 64, 3, 1), "winograd f4x4", ""},
      {layer(128, 28, 128, 3, 1), "winograd f4x4", ""},
      {layer(256, 14, 256, 3, 1, 4), "winograd f4x4", ""},
      {layer(512, 7, 512, 3, 1, 8), "winograd f4x4", ""},
      {layer(128, 56, 128, 3, 2), "direct", "stride 2x2"},
      {layer(64, 56, 256, 1, 1), "direct", "kernel 1x1"},
      {grouped, "direct", "groups 32"},
      {dilated, "direct", "dilation 2x2"},
      {layer(64, 56, 64, 3, 1), "direct", "float32Precision 'highest'", Float32Precision::kHighest},
  };
  for (const Choice& choice : table) {
    const std::string name = "choice " + choice.layer.name() + " [" + isaName(isa) + "]";
    if (!selected(name)) continue;
    const ConvProblem problem(choice.layer);
    const StepQuery query = problem.query(isa, choice.precision);
    std::string chosen = "none";
    for (const Candidate* candidate : candidatesFor(StepKind::kConv)) {
      if (!candidate->refuse(query).empty()) continue;
      chosen = candidate->name();
      break;
    }
    const std::string refusal = winogradF4().refuse(query);
    std::string error;
    if (chosen != choice.chosen)
      error = "expected " + std::string(choice.chosen) + ", got " + chosen;
    if (refusal != choice.refusal) {
      error += " expected the refusal '" + std::string(choice.refusal) + "', got '" + refusal + "'";
    }
    report(name, error);
  }
}

std::vector<ConvCase> cases() {
  std::vector<ConvCase> list;
  auto add = [&](ConvCase base) -> ConvCase& { return list.emplace_back(base); };
  auto pointwise = [](ConvCase t) {
    t.kernel = {1, 1};
    t.padding = {0, 0};
    return t;
  };
  // Tile edges: output widths around 6 and 14 rows, channels around 16 and 32.
  for (int size : {1, 2, 3, 4, 6, 7, 8, 13, 14, 15, 29}) {
    add({.n = 2, .c = 16, .h = size, .w = size, .k = 32, .relu = true});
    add(pointwise({.n = 2, .c = 16, .h = size, .w = size, .k = 32}));
    add(pointwise({.n = 2, .c = 16, .h = size, .w = size, .k = 32, .outputHalo = 1}));
  }
  for (int channels : {1, 3, 4, 5, 15, 16, 17, 31, 33}) {
    add({.n = 1, .c = channels, .h = 9, .w = 11, .k = 20, .relu = true, .bias = true});
    add({.n = 1, .c = 20, .h = 9, .w = 11, .k = channels, .outputHalo = 2});
    add(pointwise({.n = 3, .c = channels, .h = 5, .w = 7, .k = channels, .residual = true}));
  }
  // Strides, kernels, dilation, padding, unequal axes.
  for (int stride : {2, 3, 4}) {
    add({.n = 2,
         .c = 17,
         .h = 15,
         .w = 14,
         .k = 33,
         .stride = {stride, stride},
         .residual = true,
         .relu = true});
    add(pointwise(
        {.n = 2, .c = 17, .h = 15, .w = 14, .k = 33, .stride = {stride, stride}, .outputHalo = 1}));
  }
  add({.n = 1, .c = 8, .h = 13, .w = 9, .k = 8, .kernel = {1, 7}, .padding = {0, 3}});
  add({.n = 1, .c = 8, .h = 13, .w = 9, .k = 8, .kernel = {7, 1}, .padding = {3, 0}});
  add({.n = 1,
       .c = 8,
       .h = 13,
       .w = 9,
       .k = 8,
       .kernel = {5, 3},
       .stride = {2, 1},
       .padding = {2, 1}});
  add({.n = 1, .c = 8, .h = 13, .w = 9, .k = 8, .stride = {1, 2}, .padding = {2, 0}});
  add({.n = 1, .c = 8, .h = 13, .w = 9, .k = 8, .padding = {0, 0}});
  add({.n = 1, .c = 8, .h = 3, .w = 3, .k = 8, .padding = {0, 0}});
  add({.n = 1,
       .c = 24,
       .h = 17,
       .w = 19,
       .k = 40,
       .padding = {2, 2},
       .dilation = {2, 2},
       .relu = true});
  add({.n = 1, .c = 24, .h = 17, .w = 19, .k = 40, .padding = {4, 2}, .dilation = {4, 2}});
  add({.n = 1,
       .c = 4,
       .h = 8,
       .w = 8,
       .k = 4,
       .kernel = {2, 2},
       .stride = {2, 2},
       .padding = {0, 0}});
  // Stems.
  for (int channels : {1, 2, 3, 4}) {
    add({.n = 2,
         .c = channels,
         .h = 37,
         .w = 35,
         .k = 64,
         .kernel = {7, 7},
         .stride = {2, 2},
         .padding = {3, 3},
         .relu = true});
  }
  add({.n = 1,
       .c = 3,
       .h = 64,
       .w = 64,
       .k = 64,
       .kernel = {7, 7},
       .stride = {2, 2},
       .padding = {3, 3},
       .relu = true,
       .outputHalo = 1,
       .threads = 2});
  add({.n = 1, .c = 3, .h = 32, .w = 32, .k = 32, .stride = {2, 2}, .relu = true, .outputHalo = 1});
  add({.n = 1, .c = 3, .h = 32, .w = 32, .k = 16, .relu = true, .outputHalo = 1});
  add({.n = 1,
       .c = 3,
       .h = 32,
       .w = 32,
       .k = 16,
       .kernel = {4, 4},
       .stride = {4, 4},
       .padding = {0, 0},
       .norm = false,
       .bias = true});
  add({.n = 1, .c = 3, .h = 12, .w = 12, .k = 6, .padding = {2, 2}, .dilation = {2, 2}});
  add({.n = 1, .c = 3, .h = 12, .w = 12, .k = 6, .groups = 3});
  // Groups, down to depthwise and with groups that share and straddle channel blocks.
  struct Grouped {
    int groups, c, k;
  };
  for (Grouped g : {Grouped{2, 32, 32},
                    {4, 128, 128},
                    {32, 128, 128},
                    {32, 256, 256},
                    {3, 36, 60},
                    {20, 20, 20},
                    {48, 48, 96},
                    {5, 60, 35}}) {
    add({.n = 2, .c = g.c, .h = 7, .w = 9, .k = g.k, .groups = g.groups, .relu = true});
    add(pointwise({.n = 1, .c = g.c, .h = 7, .w = 9, .k = g.k, .groups = g.groups}));
  }
  // Residuals, in place too, with halos on all sides.
  for (int halo : {0, 1, 3}) {
    for (bool alias : {false, true}) {
      add({.n = 2,
           .c = 32,
           .h = 14,
           .w = 14,
           .k = 48,
           .residual = true,
           .relu = true,
           .alias = alias,
           .outputHalo = halo});
      add(pointwise({.n = 2,
                     .c = 40,
                     .h = 7,
                     .w = 7,
                     .k = 64,
                     .residual = true,
                     .alias = alias,
                     .outputHalo = halo}));
    }
    add({.n = 1, .c = 24, .h = 10, .w = 12, .k = 24, .extraHalo = halo, .outputHalo = halo});
    add(pointwise({.n = 1, .c = 24, .h = 10, .w = 12, .k = 24, .extraHalo = halo}));
  }
  // Threads: more than there are tiles, more than there are panels, both.
  for (int threads : {2, 3, 5, 8}) {
    add({.n = 1,
         .c = 32,
         .h = 7,
         .w = 7,
         .k = 96,
         .residual = true,
         .relu = true,
         .outputHalo = 1,
         .threads = threads});
    add({.n = 3,
         .c = 48,
         .h = 16,
         .w = 12,
         .k = 40,
         .relu = true,
         .outputHalo = 1,
         .threads = threads});
    add(pointwise({.n = 1, .c = 64, .h = 3, .w = 3, .k = 32, .threads = threads}));
  }
  // Inputs of one sign, where Winograd's transforms cancel most.
  for (int channels : {64, 256, 512}) {
    add({.n = 1, .c = channels, .h = 14, .w = 14, .k = 64, .residual = true, .positive = true});
  }
  // The real layers' channel counts, on small maps.
  add({.n = 1, .c = 64, .h = 56, .w = 56, .k = 64, .residual = true, .relu = true, .threads = 2});
  add({.n = 1, .c = 128, .h = 28, .w = 28, .k = 128, .relu = true, .threads = 2});
  add({.n = 2, .c = 256, .h = 14, .w = 14, .k = 256, .relu = true, .threads = 2});
  add({.n = 1, .c = 512, .h = 7, .w = 7, .k = 512, .residual = true, .relu = true, .threads = 2});
  add({.n = 5, .c = 512, .h = 7, .w = 7, .k = 512, .relu = true, .threads = 2});
  add(pointwise({.n = 1,
                 .c = 1024,
                 .h = 14,
                 .w = 14,
                 .k = 256,
                 .relu = true,
                 .outputHalo = 1,
                 .threads = 2}));
  return list;
}

}  // namespace

int main(int argc, char** argv) {
  filters.assign(argv + 1, argv + argc);
  const std::vector<const Candidate*> candidates = {&thinConv(), &directConv(), &winogradF4(),
                                                    &winogradF2()};
  for (const ConvCase& test : cases()) {
    const ConvProblem problem(test);
    const std::vector<double> expected = reference(problem);
    for (const IsaSupport& isa : hostIsas()) {
      if (!isa.supported) continue;
      for (const Candidate* candidate : candidates) runConv(problem, expected, *candidate, isa.isa);
    }
  }
  for (const IsaSupport& isa : hostIsas()) {
    if (!isa.supported) {
      std::printf("skipped [%s]: %s\n", isaName(isa.isa), isa.reason.c_str());
      continue;
    }
    for (int n : {1, 2, 6, 7, 13, 14, 15, 29}) linearCase(n, 33, 50, n % 2 == 0, 1, isa.isa);
    for (int threads : {2, 3, 7}) linearCase(3, 512, 1000, true, threads, isa.isa);
    linearCase(2, 16, 1, true, 2, isa.isa);
    linearCase(1, 1, 10, true, 1, isa.isa);
    choices(isa.isa);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
