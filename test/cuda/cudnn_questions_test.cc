// What cuDNN has for convolutions that the backend does not state yet, on described devices: 8-bit
// operands with scales, channel pitches above C. The answers are compared with cudnn_answers.txt;
// docs/cudnn-questions.md says what follows from them.
//   RESNET_ALL_QUESTIONS=1   every question about every shape on every device, not a sample: minutes
//   RESNET_UPDATE_TABLE=1    the same, and writes the table anew; =int8 only what has int8 in its name
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "cuda/value.h"
#include "test/cuda/cudnn_question.h"
#include "test/cuda/described_cudnn.h"
#include "test/native/check.h"

namespace resnet::cuda::test {
namespace {

constexpr const char* kDevices[] = {"sm75", "sm80", "sm86", "sm89", "sm90", "sm100", "sm120"};
constexpr size_t kDeviceCount = std::size(kDevices);
constexpr int64_t kWorkspaceLimit = int64_t{256} << 20;  // the default of CompileOptions
constexpr const char* kTable = "cudnn_answers.txt";

// ---- the questions ----

int upTo(int channels, int multiple) { return (channels + multiple - 1) / multiple * multiple; }

int64_t pixels(int size, int kernel, int stride, int pad, int dilation) {
  return (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

struct Types {
  Element operands, output;
  Scale scale;
};

// A table row as cuDNN would be asked to run it: channels padded, those of a group left alone.
CudnnQuestion question(const ConvolutionRow& row, int n, int multiple, const Types& types) {
  CudnnQuestion asked;
  asked.shape = row.shape;
  asked.shape.n = n;
  if (row.shape.groups == 1) {
    asked.shape.c = upTo(row.shape.c, multiple);
    asked.shape.k = upTo(row.shape.k, multiple);
  }
  asked.input = asked.weight = asked.residual = types.operands;
  asked.output = types.output;
  asked.scale = types.scale;
  return asked;
}

// "0+7: 2t 4t 7t": precompiled and run-time compiled configurations, the engines by cuDNN's number, t
// where it notes tensor cores, and the least workspace where every engine wants one.
std::string enginesText(const CudnnAnswer& answer) {
  if (answer.engines.empty()) return "none";
  std::string text = std::to_string(answer.configurations(false)) + "+" +
                     std::to_string(answer.configurations(true)) + ":";
  int64_t least = kWorkspaceLimit;
  for (const auto& [number, engine] : answer.engines) {
    text += " " + std::to_string(number) + (engine.tensorCores ? "t" : "");
    least = std::min(least, engine.workspace);
  }
  return least == 0 ? text : text + " workspace " + std::to_string(least);
}

constexpr int k8BitAlignment = 16;  // channels: what 8-bit tensor-core instructions want

std::string eightBit(const ConvolutionRow& row, int n, const Types& types, int multiple,
                     Status* built) {
  const CudnnAnswer answer =
      askCudnn(question(row, n, multiple, types), kWorkspaceLimit, built != nullptr);
  if (built != nullptr) *built = answer.built;
  return enginesText(answer);
}

enum class Pitched { kInput, kOutput, kResidual };

// How engines take a tensor whose pixels lie twice as far apart as they are wide: "direct", "copied"
// (precompiled, through a dense copy in the workspace), "compiled" (at run time, without one).
std::string pitched(const ConvolutionRow& row, Element element, Pitched which) {
  if (which == Pitched::kResidual && !row.shape.residual) return "no residual";
  CudnnQuestion asked = question(row, 32, kChannelAlignment, {element, element, Scale::kNone});
  ConvolutionShape& s = asked.shape;
  int64_t dense = element == Element::kFloat32 ? 4 : 2;  // bytes of the tensor without the gaps
  if (which == Pitched::kInput) {
    s.inputPitch = 2 * s.c;
    dense *= int64_t{s.n} * s.h * s.w * s.c;
  } else {
    (which == Pitched::kOutput ? s.outputPitch : s.residualPitch) = 2 * s.k;
    dense *= s.n * pixels(s.h, s.kernelH, s.strideH, s.padH, s.dilationH) *
             pixels(s.w, s.kernelW, s.strideW, s.padW, s.dilationW) * s.k;
  }
  bool direct = false, copied = false, compiled = false;
  for (const bool generic : {false, true}) {
    asked.residualFirst = s.residual && !generic;
    asked.float32Bias = generic;
    for (const auto& [number, engine] : askCudnn(asked, kWorkspaceLimit, false).engines) {
      if (engine.compiled)
        compiled = true;
      else
        (engine.workspace < dense ? direct : copied) = true;
    }
  }
  std::string text;
  for (const auto& [is, name] :
       {std::pair(direct, "direct"), std::pair(copied, "copied"), std::pair(compiled, "compiled")})
    if (is) text += (text.empty() ? "" : " ") + std::string(name);
  return text.empty() ? "none" : text;
}

struct Question {
  std::string name;
  std::function<std::string(const ConvolutionRow&)> answer;
  // The same, and a plan of the best engine made; empty where that is not asked.
  std::function<std::string(const ConvolutionRow&, Status*)> build;
  std::function<bool(const ConvolutionRow&)> concerns;
};

std::vector<Question> questions() {
  constexpr Element kInt8 = Element::kInt8, kE4m3 = Element::kE4m3, kHalf = Element::kFloat16;
  std::vector<Question> all;
  const auto everyRow = [](const ConvolutionRow&) { return true; };
  const auto stem = [](const ConvolutionRow& row) { return row.shape.c < 4; };
  const auto add = [&](const std::string& name, int n, Types types, int multiple, auto concerns) {
    const auto build = [=](const ConvolutionRow& row, Status* built) {
      return eightBit(row, n, types, multiple, built);
    };
    all.push_back(
        {name, [=](const ConvolutionRow& row) { return build(row, nullptr); }, build, concerns});
  };
  const Types int8{kInt8, kInt8, Scale::kVector}, e4m3{kE4m3, kE4m3, Scale::kVector};
  add("int8, scale[k]", 32, int8, k8BitAlignment, everyRow);
  add("int8, scale[k], 1 image", 1, int8, k8BitAlignment, everyRow);
  add("int8, scale[k], 256 images", 256, int8, k8BitAlignment, everyRow);
  add("int8, scale[k], stem of 4 channels", 32, int8, 4, stem);
  add("int8, scale[k], to float16", 32, {kInt8, kHalf, Scale::kVector}, k8BitAlignment, everyRow);
  add("e4m3, scale[k]", 32, e4m3, k8BitAlignment, everyRow);
  add("e4m3, one scale", 32, {kE4m3, kE4m3, Scale::kScalar}, k8BitAlignment, everyRow);
  add("e4m3, scale[k], stem of 4 channels", 32, e4m3, 4, stem);
  add("e4m3, scale[k], to float16", 32, {kE4m3, kHalf, Scale::kVector}, k8BitAlignment, everyRow);
  add("uint8 by int8, scale[k]", 32, {Element::kUint8, Element::kUint8, Scale::kVector},
      k8BitAlignment, everyRow);
  const auto pitch = [&](const std::string& name, Element element, Pitched which) {
    const auto answer = [=](const ConvolutionRow& row) { return pitched(row, element, which); };
    all.push_back({name, answer, {}, everyRow});
  };
  pitch("float16, pitch of the input 2C", kHalf, Pitched::kInput);
  pitch("float16, pitch of the output 2K", kHalf, Pitched::kOutput);
  pitch("float16, pitch of the residual 2K", kHalf, Pitched::kResidual);
  pitch("bfloat16, pitch of the output 2K", Element::kBFloat16, Pitched::kOutput);
  pitch("float32, pitch of the output 2K", Element::kFloat32, Pitched::kOutput);
  return all;
}

// ---- the table ----

// "2-4 7" for rows 2, 3, 4 and 7.
std::string rangesText(const std::vector<size_t>& rows) {
  std::string text;
  for (size_t i = 0; i < rows.size();) {
    size_t end = i;
    while (end + 1 < rows.size() && rows[end + 1] == rows[end] + 1) ++end;
    if (!text.empty()) text += ' ';
    text += std::to_string(rows[i]);
    if (end > i) text.append("-").append(std::to_string(rows[end]));
    i = end + 1;
  }
  return text;
}

std::vector<size_t> parseRanges(const std::string& text) {
  std::istringstream fields(text);
  std::vector<size_t> rows;
  for (std::string field; fields >> field;) {
    const size_t dash = field.find('-');
    const size_t first = std::stoul(field);
    const size_t last = dash == std::string::npos ? first : std::stoul(field.substr(dash + 1));
    for (size_t row = first; row <= last; ++row) rows.push_back(row);
  }
  return rows;
}

// Answers by question, device and row of convolutions.txt, the first being 1.
struct Answers {
  std::string version;
  std::map<std::string, std::map<std::string, std::map<size_t, std::string>>> by;

  static Answers read() {
    Answers read;
    std::istringstream file(testFile(kTable));
    std::string name;
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("cuDNN ")) read.version = line.substr(6);
      if (line.starts_with("== ")) name = line.substr(3);
      const size_t first = line.find(" | "), second = line.rfind(" | ");
      if (line.starts_with('#') || first == std::string::npos || second == first) continue;
      for (size_t row : parseRanges(line.substr(second + 3)))
        read.by[name][line.substr(0, first)][row] = line.substr(first + 3, second - first - 3);
    }
    return read;
  }

  std::string text(const std::vector<Question>& order) const {
    std::string text =
        "# What cuDNN has for convolutions that the backend does not state yet, by described "
        "device.\n"
        "# device | precompiled + run-time compiled configurations: engines, t by tensor cores | "
        "rows\n"
        "# Rows are those of convolutions.txt, the first being 1. cudnn_questions_test compares "
        "this\n"
        "# with the cuDNN that is installed; RESNET_UPDATE_TABLE=1 writes it anew.\n"
        "cuDNN " +
        version + "\n";
    for (const Question& question : order) {
      text += "\n== " + question.name + "\n";
      for (const char* device : kDevices) {
        std::map<std::string, std::vector<size_t>> rows;
        for (const auto& [row, answer] : by.at(question.name).at(device))
          rows[answer].push_back(row);
        for (const auto& [answer, which] : rows)
          text += std::string(device) + " | " + answer + " | " + rangesText(which) + "\n";
      }
    }
    return text;
  }
};

// What the installed cuDNN answers otherwise than the table says, one line each.
std::vector<std::string> differences(const Answers& asked, const Answers& table,
                                     const std::vector<ConvolutionRow>& rows) {
  std::vector<std::string> lines;
  for (const auto& [name, devices] : asked.by)
    for (const auto& [device, answers] : devices)
      for (const auto& [row, answer] : answers) {
        std::string known = "nothing";
        const auto byName = table.by.find(name);
        if (byName != table.by.end() && byName->second.contains(device)) {
          const auto& there = byName->second.at(device);
          if (there.contains(row)) known = there.at(row);
        }
        if (known != answer)
          lines.push_back(name + " on " + device + ", " + rows[row - 1].layer + ": \"" + answer +
                          "\", the table says \"" + known + "\"");
      }
  return lines;
}

// ---- asking ----

// The sample that is asked each time: every question on every device; every shape, half of the questions,
// each on one device.
bool sampled(size_t device, size_t question, size_t row) {
  return (row + question) % kDeviceCount == device && (row / kDeviceCount + question) % 2 == 0;
}

struct Asking {
  const std::vector<Question>& questions;
  const std::vector<ConvolutionRow>& rows;
  bool everything = false;
  std::string wanted;  // part of the names of those that are asked

  // In the process of one device: a line "question | row | answer" for each answer.
  void of(size_t device, std::ostream& lines) const {
    lines << "cuDNN " << describeDevice(kDevices[device]) << "\n";
    for (size_t q = 0; q < questions.size(); ++q) {
      if (!resnet::test::contains(questions[q].name, wanted)) continue;
      const auto begin = std::chrono::steady_clock::now();
      std::map<std::string, int> tally;
      for (size_t row = 0; row < rows.size(); ++row) {
        if (!questions[q].concerns(rows[row])) continue;
        if (!everything && !sampled(device, q, row)) continue;
        const std::string answer = questions[q].answer(rows[row]);
        lines << questions[q].name << " | " << row + 1 << " | " << answer << "\n";
        ++tally[answer];
      }
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      if (!everything) continue;
      std::printf("  %s, %s (%.0f s):", kDevices[device], questions[q].name.c_str(), took.count());
      for (const auto& [answer, times] : tally) std::printf(" [%s] x%d", answer.c_str(), times);
      std::printf("\n");
      std::fflush(stdout);
    }
  }
};

struct Asked {
  Answers answers;
  int count = 0;
};

Asked askAll(const Asking& asking) {
  std::string folder = (std::filesystem::temp_directory_path() / "resnet-answers-XXXXXX").string();
  CHECK(mkdtemp(folder.data()) != nullptr);
  const auto fileOf = [&](size_t device) { return folder + "/" + kDevices[device]; };
  std::vector<std::function<void()>> bodies;
  for (size_t d = 0; d < kDeviceCount; ++d)
    bodies.push_back([&, d] {
      std::ofstream file(fileOf(d));
      asking.of(d, file);
    });
  inOwnProcesses(bodies);
  Asked asked;
  for (size_t d = 0; d < kDeviceCount; ++d) {
    std::ifstream file(fileOf(d));
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("cuDNN ")) asked.answers.version = line.substr(6);
      const size_t first = line.find(" | "), second = line.rfind(" | ");
      if (first == std::string::npos) continue;
      const size_t row = std::stoul(line.substr(first + 3, second - first - 3));
      asked.answers.by[line.substr(0, first)][kDevices[d]][row] = line.substr(second + 3);
      ++asked.count;
    }
  }
  std::filesystem::remove_all(folder);
  return asked;
}

TEST("cuDNN questions: the answers are those of the table") {
  if (!realCudnnInstalled("cuDNN questions")) return;
  const std::vector<Question> all = questions();
  const std::vector<ConvolutionRow> rows = convolutionTable();
  Answers table = Answers::read();
  if (const char* update = std::getenv("RESNET_UPDATE_TABLE")) {
    const Asked asked = askAll({all, rows, true, std::string(update) == "1" ? "" : update});
    table.version = asked.answers.version;
    for (const auto& [name, answers] : asked.answers.by) table.by[name] = answers;
    std::ofstream(std::string(RESNET_TEST_FOLDER) + "/" + kTable) << table.text(all);
    std::printf("  wrote %s: %d answers\n", kTable, asked.count);
    return;
  }
  const Asked asked = askAll({all, rows, std::getenv("RESNET_ALL_QUESTIONS") != nullptr, ""});
  const std::vector<std::string> lines = differences(asked.answers, table, rows);
  std::printf("  %d questions to cuDNN %s, %zu answered otherwise than the table says\n",
              asked.count, asked.answers.version.c_str(), lines.size());
  constexpr size_t kShown = 20;
  for (size_t i = 0; i < std::min(lines.size(), kShown); ++i)
    std::printf("  differs: %s\n", lines[i].c_str());
  if (lines.empty()) return;
  const std::string advice = "the table is of cuDNN " + table.version + ", installed is " +
                             asked.answers.version + ": " + std::to_string(lines.size()) +
                             " answers differ; read docs/cudnn-questions.md again, then write it "
                             "anew with RESNET_UPDATE_TABLE=1";
  // Another version may answer otherwise; the same one may not.
  if (table.version != asked.answers.version)
    resnet::test::skip("cuDNN questions", advice);
  else
    resnet::test::fault(__FILE__, __LINE__, advice);
}

TEST("cuDNN questions: control: another answer is a difference that names shape and device") {
  const std::vector<ConvolutionRow> rows = convolutionTable();
  const Answers table = Answers::read();
  CHECK_EQ(table.by.size(), questions().size());
  CHECK_EQ(table.text(questions()), testFile(kTable));  // nothing is lost by reading and writing
  CHECK(differences(table, table, rows).empty());
  Answers other = table;
  other.by["int8, scale[k]"]["sm90"][1] = "none";
  const std::vector<std::string> lines = differences(other, table, rows);
  CHECK_EQ(lines.size(), size_t{1});
  CHECK_HAS(lines.empty() ? "" : lines[0], "int8, scale[k] on sm90, resnet18:conv1: \"none\"");
}

// What cuDNN proposes it also makes: the best engine of a third of the 8-bit questions is compiled.
TEST("cuDNN questions: the best engine of an 8-bit question can be made") {
  if (!realCudnnInstalled("8-bit plans")) return;
  const std::vector<ConvolutionRow> rows = convolutionTable();
  const std::vector<Question> all = questions();
  std::vector<std::function<void()>> bodies;
  for (size_t d = 0; d < kDeviceCount; ++d)
    bodies.push_back([&, d] {
      describeDevice(kDevices[d]);
      int made = 0, asked = 0;
      for (size_t q = 0; q < all.size(); ++q) {
        const size_t row = (5 * d + 13 * q) % rows.size();
        if ((d + q) % 3 != 0 || !all[q].build || !all[q].concerns(rows[row])) continue;
        ++asked;
        Status built;
        if (all[q].build(rows[row], &built) == "none") continue;
        const std::string what = all[q].name + " on " + kDevices[d] + ", " + rows[row].layer;
        CHECK_EQ(built.ok() ? "" : what + ": " + built.message, std::string());
        ++made;
      }
      std::printf("  %s: %d plans made for %d questions\n", kDevices[d], made, asked);
      CHECK(asked > 0 && (made > 0 || std::string(kDevices[d]) < "sm80"));
    });
  inOwnProcesses(bodies);
}

}  // namespace
}  // namespace resnet::cuda::test

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
