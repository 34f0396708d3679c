// A Plan as the JSON text that parsePlan reads.
#include <cstdio>

#include "core/plan.h"

namespace resnet {

namespace {

// Members of one object, in the order in which they are added.
class Writer {
 public:
  explicit Writer(std::string* out) : out_(*out) { out_ += '{'; }
  void end() { out_ += '}'; }

  void integer(const char* name, int64_t value) { key(name) += std::to_string(value); }
  void boolean(const char* name, bool value) { key(name) += value ? "true" : "false"; }
  void number(const char* name, double value) { key(name) += numberText(value, "%.17g"); }
  void text(const char* name, std::string_view value) { addQuoted(&key(name), value); }
  void optionalText(const char* name, std::string_view value) {
    if (!value.empty()) text(name, value);
  }
  void pair(const char* name, const Spatial& s) {
    integers(name, std::initializer_list<int>{s.h, s.w});
  }
  template <typename List>
  void integers(const char* name, const List& values) {
    list(name, values, [](auto value) { return std::to_string(value); });
  }
  void floats(const char* name, const std::vector<float>& values) {
    if (values.empty()) return;
    list(name, values, [](float value) { return numberText(value, "%.9g"); });
  }
  // The text, up to where the value of `name` goes.
  std::string& key(const char* name) {
    if (out_.back() != '{') out_ += ',';
    out_ += '"';
    out_ += name;
    out_ += "\":";
    return out_;
  }

 private:
  template <typename List, typename TextOf>
  void list(const char* name, const List& values, const TextOf& textOf) {
    key(name) += '[';
    for (const auto& value : values) {
      if (&value != &*values.begin()) out_ += ',';
      out_ += textOf(value);
    }
    out_ += ']';
  }
  static std::string numberText(double value, const char* format) {
    char text[40];
    std::snprintf(text, sizeof text, format, value);
    return text;
  }
  static void addQuoted(std::string* out, std::string_view text) {
    *out += '"';
    for (const char c : text) {
      if (uint8_t(c) < 0x20) {
        char escaped[8];
        std::snprintf(escaped, sizeof escaped, "\\u%04x", unsigned(uint8_t(c)));
        *out += escaped;
        continue;
      }
      if (c == '"' || c == '\\') *out += '\\';
      *out += c;
    }
    *out += '"';
  }

  std::string& out_;
};

const char* word(Activation activation) {
  return activation == Activation::kRelu ? "relu" : "none";
}
const char* word(MemoryLayout layout) { return layout == MemoryLayout::kNchw ? "nchw" : "nhwc"; }

void writeNorm(Writer& to, const NormNames& norm) {
  Writer w(&to.key("norm"));
  w.optionalText("weight", norm.weight);
  w.optionalText("bias", norm.bias);
  w.text("mean", norm.mean);
  w.text("var", norm.var);
  w.number("eps", norm.eps);
  w.end();
}

template <typename Body>
void writeWindow(Writer& w, const Body& s) {
  w.pair("kernel", s.kernel);
  w.pair("stride", s.stride);
  w.pair("padding", s.padding);
  w.pair("dilation", s.dilation);
}
template <typename Body>
void writeUnary(Writer& w, const Body& s) {
  w.integer("input", s.input);
  w.integer("output", s.output);
}

struct BodyWriter {
  Writer& w;
  StepKind kind;

  void operator()(const ConvStep& s) const {
    writeUnary(w, s);
    if (s.residual != kNoValue) w.integer("residual", s.residual);
    w.integer("k", s.k);
    writeWindow(w, s);
    w.integer("groups", s.groups);
    w.text("weight", s.weight);
    w.optionalText("bias", s.bias);
    if (s.norm) writeNorm(w, *s.norm);
    w.text("activation", word(s.activation));
  }
  void operator()(const PoolStep& s) const {
    writeUnary(w, s);
    writeWindow(w, s);
    w.boolean("ceilMode", s.ceilMode);
    if (kind == StepKind::kAvgPool) w.boolean("countIncludePad", s.countIncludePad);
  }
  void operator()(const GlobalAvgPoolStep& s) const { writeUnary(w, s); }
  void operator()(const LinearStep& s) const {
    writeUnary(w, s);
    w.integer("k", s.k);
    w.text("weight", s.weight);
    w.optionalText("bias", s.bias);
  }
  void operator()(const AffineStep& s) const {
    writeUnary(w, s);
    writeNorm(w, s.norm);
    w.text("activation", word(s.activation));
  }
  void operator()(const AddStep& s) const {
    w.integer("a", s.a);
    w.integer("b", s.b);
    w.integer("output", s.output);
    w.text("activation", word(s.activation));
  }
  void operator()(const ActivationStep& s) const {
    writeUnary(w, s);
    w.text("activation", word(s.activation));
  }
  void operator()(const SoftmaxStep& s) const { writeUnary(w, s); }
  void operator()(const TopKStep& s) const {
    w.integer("input", s.input);
    w.integer("scores", s.scores);
    w.integer("indices", s.indices);
    w.integer("k", s.k);
  }
  void operator()(const InputStep& s) const {
    w.integer("output", s.output);
    w.integer("index", s.index);
    w.text("dtype", dtypeName(s.dtype));
    w.text("layout", word(s.layout));
    w.floats("mean", s.mean);
    w.floats("std", s.std);
    if (s.resize) w.text("resize", *s.resize == Interpolation::kBicubic ? "bicubic" : "bilinear");
  }
  void operator()(const OutputStep& s) const {
    w.integer("input", s.input);
    w.integer("index", s.index);
    w.text("layout", word(s.layout));
  }
};

template <typename T, typename WriteItem>
void writeList(Writer& to, const char* key, const std::vector<T>& items, const WriteItem& write) {
  std::string& out = to.key(key);
  out += '[';
  for (const T& item : items) {
    if (&item != &items.front()) out += ',';
    Writer w(&out);
    write(w, item);
    w.end();
  }
  out += ']';
}

}  // namespace

std::string writePlan(const Plan& plan) {
  std::string text;
  Writer w(&text);
  w.integer("version", 1);
  writeList(w, "values", plan.values, [](Writer& v, const ValueInfo& value) {
    v.text("name", value.name);
    v.integers("shape", std::initializer_list<int>{value.h, value.w, value.c});
    v.text("dtype", dtypeName(value.dtype));
  });
  writeList(w, "steps", plan.steps, [](Writer& s, const Step& step) {
    s.text("kind", stepKindName(step.kind));
    s.text("name", step.name);
    std::visit(BodyWriter{s, step.kind}, step.body);
  });
  writeList(w, "parameters", plan.parameters, [](Writer& p, const ParameterInfo& parameter) {
    p.text("name", parameter.name);
    p.integers("shape", parameter.shape);
  });
  w.integer("inputs", plan.inputs);
  w.integer("outputs", plan.outputs);
  w.end();
  return text;
}

}  // namespace resnet
