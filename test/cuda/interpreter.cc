#include "test/cuda/interpreter.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/dtype.h"
#include "core/json.h"

namespace resnet::cuda::test {
namespace {

Status refuse(const std::string& why) { return Status::error(Code::kInvalidArgument, why); }

uint16_t halfBits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7e00);
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00);
  // In units of the last place of the result, rounded by the host's own rule: nearest even.
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int unit = magnitude == 0 ? -24 : std::max(exponent - 11, -24);
  const float steps = std::nearbyint(std::ldexp(magnitude, -unit));
  if (unit == -24) return static_cast<uint16_t>(sign | static_cast<uint16_t>(steps));
  // steps lies in [1024, 2048]; 2048 carries into the exponent by itself.
  const int field = unit + 24;  // exponent field less one, since steps holds the leading one
  return static_cast<uint16_t>(sign | ((field << 10) + static_cast<int>(steps)));
}

uint16_t bfloatBits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

std::string text(const json::Value& value, const char* key) {
  const json::Value* found = value.find(key);
  return found != nullptr && found->is(json::Value::Kind::kString) ? found->string : "";
}

std::vector<int64_t> integers(const json::Value& value, const char* key) {
  std::vector<int64_t> result;
  if (const json::Value* found = value.find(key))
    for (const json::Value& item : found->array) result.push_back(item.integer);
  return result;
}

std::map<std::string, std::string> ports(const json::Value& value, const char* key) {
  std::map<std::string, std::string> result;
  if (const json::Value* found = value.find(key))
    for (const auto& [port, tensor] : found->object) result[port] = tensor.string;
  return result;
}

// A tensor with its memory.
class Operand {
 public:
  Operand(const GraphTensor& tensor, Memory memory) : tensor_(&tensor), memory_(memory) {}
  int64_t dim(size_t d) const { return tensor_->dim[d]; }
  const std::vector<int64_t>& dims() const { return tensor_->dim; }
  float get(int64_t n, int64_t c, int64_t h, int64_t w) const {
    return load(tensor_->type, at(n, c, h, w));
  }
  void set(int64_t n, int64_t c, int64_t h, int64_t w, float value) const {
    store(tensor_->type, at(n, c, h, w), value);
  }

 private:
  std::byte* at(int64_t n, int64_t c, int64_t h, int64_t w) const {
    const auto& stride = tensor_->stride;
    const int64_t element = n * stride[0] + c * stride[1] + h * stride[2] + w * stride[3];
    return memory_.data + static_cast<size_t>(element) * bytesOf(tensor_->type);
  }
  const GraphTensor* tensor_;
  Memory memory_;
};

template <typename Body>
void forEach(const std::vector<int64_t>& dim, const Body& body) {
  for (int64_t n = 0; n < dim[0]; ++n)
    for (int64_t c = 0; c < dim[1]; ++c)
      for (int64_t h = 0; h < dim[2]; ++h)
        for (int64_t w = 0; w < dim[3]; ++w) body(n, c, h, w);
}

class Interpreter {
 public:
  Interpreter(const OperationGraph& graph, const std::map<int64_t, Memory>& memory)
      : graph_(graph), memory_(memory) {}

  Status run() {
    for (const GraphNode& node : graph_.nodes) {
      if (node.computeType != "FLOAT") return refuse(node.tag + " computes in " + node.computeType);
      if (node.tag == "CONV_FPROP")
        RESNET_RETURN_IF_ERROR(convolve(node));
      else if (node.tag == "MATMUL")
        RESNET_RETURN_IF_ERROR(multiply(node));
      else if (node.tag == "POINTWISE")
        RESNET_RETURN_IF_ERROR(pointwise(node));
      else
        return refuse("no rule for " + node.tag);
    }
    return Status::okay();
  }

 private:
  Result<Operand> operand(const std::map<std::string, std::string>& ports,
                          const std::string& port) {
    const auto name = ports.find(port);
    if (name == ports.end()) return refuse("port " + port + " is not connected");
    const auto found = graph_.tensors.find(name->second);
    if (found == graph_.tensors.end()) return refuse("no tensor " + name->second);
    const GraphTensor& tensor = found->second;
    if (tensor.dim.size() != 4 || tensor.stride.size() != 4 || bytesOf(tensor.type) == 0)
      return refuse("tensor " + tensor.name + " of type " + tensor.type + " is not a map");
    int64_t last = 0;
    for (size_t d = 0; d < 4; ++d) last += (tensor.dim[d] - 1) * tensor.stride[d];
    const size_t bytes = static_cast<size_t>(last + 1) * bytesOf(tensor.type);
    if (tensor.isVirtual) {
      std::vector<std::byte>& own = virtual_[tensor.name];
      if (own.empty()) own.assign(bytes, std::byte{0xff});  // not a number in every type
      return Operand(tensor, {own.data(), own.size()});
    }
    const auto bound = memory_.find(tensor.uid);
    if (bound == memory_.end())
      return refuse("tensor " + tensor.name + ": no memory for uid " + std::to_string(tensor.uid));
    if (bytes > bound->second.bytes)
      return refuse("tensor " + tensor.name + " reaches to byte " + std::to_string(bytes) + " of " +
                    std::to_string(bound->second.bytes));
    return Operand(tensor, bound->second);
  }

  Status convolve(const GraphNode& node) {
    Result<Operand> x = operand(node.inputs, "X"), w = operand(node.inputs, "W");
    Result<Operand> y = operand(node.outputs, "Y");
    for (const Result<Operand>* each : {&x, &w, &y})
      if (!each->ok()) return each->status();
    return convolve(node, x.value(), w.value(), y.value());
  }

  Status convolve(const GraphNode& node, const Operand& x, const Operand& w, const Operand& y) {
    const bool flipped = node.mode == "CONVOLUTION";
    if (!flipped && node.mode != "CROSS_CORRELATION") return refuse("no rule for " + node.mode);
    const int64_t perGroup = w.dim(1), outputs = w.dim(0);
    if (perGroup < 1 || x.dim(1) % perGroup != 0) return refuse("channels do not fit the weights");
    const int64_t groups = x.dim(1) / perGroup;
    if (y.dim(0) != x.dim(0) || y.dim(1) != outputs || outputs % groups != 0)
      return refuse("the convolution's output does not fit its weights");
    for (size_t d = 0; d < 2; ++d) {
      const int64_t reach = node.dilation[d] * (w.dim(2 + d) - 1) + 1;
      const int64_t room = x.dim(2 + d) + node.prePadding[d] + node.postPadding[d] - reach;
      if (room < 0 || y.dim(2 + d) != room / node.stride[d] + 1)
        return refuse("the convolution's output has the wrong size");
    }
    forEach(y.dims(), [&](int64_t n, int64_t k, int64_t p, int64_t q) {
      const int64_t firstChannel = k / (outputs / groups) * perGroup;
      float sum = 0;
      for (int64_t r = 0; r < w.dim(2); ++r) {
        const int64_t h = p * node.stride[0] - node.prePadding[0] + r * node.dilation[0];
        if (h < 0 || h >= x.dim(2)) continue;
        for (int64_t s = 0; s < w.dim(3); ++s) {
          const int64_t column = q * node.stride[1] - node.prePadding[1] + s * node.dilation[1];
          if (column < 0 || column >= x.dim(3)) continue;
          const int64_t tapR = flipped ? w.dim(2) - 1 - r : r;
          const int64_t tapS = flipped ? w.dim(3) - 1 - s : s;
          for (int64_t c = 0; c < perGroup; ++c)
            sum += x.get(n, firstChannel + c, h, column) * w.get(k, c, tapR, tapS);
        }
      }
      y.set(n, k, p, q, sum);
    });
    return Status::okay();
  }

  // C = A B, of matrices [1, rows, columns].
  Status multiply(const GraphNode& node) {
    Result<Operand> a = operand(node.inputs, "A"), b = operand(node.inputs, "B");
    Result<Operand> c = operand(node.outputs, "C");
    for (const Result<Operand>* each : {&a, &b, &c})
      if (!each->ok()) return each->status();
    const Operand &left = a.value(), &right = b.value(), &product = c.value();
    for (const Operand* each : {&left, &right, &product})
      if (each->dim(0) != 1 || each->dim(1) != 1) return refuse("not one product of matrices");
    if (left.dim(3) != right.dim(2) || product.dim(2) != left.dim(2) ||
        product.dim(3) != right.dim(3))
      return refuse("the matrices do not fit each other");
    forEach(product.dims(), [&](int64_t, int64_t, int64_t row, int64_t column) {
      float sum = 0;
      for (int64_t i = 0; i < left.dim(3); ++i)
        sum += left.get(0, 0, row, i) * right.get(0, 0, i, column);
      product.set(0, 0, row, column, sum);
    });
    return Status::okay();
  }

  Status pointwise(const GraphNode& node) {
    Result<Operand> a = operand(node.inputs, "IN_0");
    Result<Operand> y = operand(node.outputs, "OUT_0");
    if (!a.ok()) return a.takeStatus();
    if (!y.ok()) return y.takeStatus();
    if (node.mode == "RELU_FWD") {
      if (a.value().dims() != y.value().dims()) return refuse("relu changes the shape");
      forEach(y.value().dims(), [&](int64_t n, int64_t c, int64_t h, int64_t w) {
        const float value = a.value().get(n, c, h, w);
        y.value().set(n, c, h, w, value < 0 ? 0 : value);  // NaN stays
      });
      return Status::okay();
    }
    if (node.mode != "ADD") return refuse("no rule for pointwise " + node.mode);
    Result<Operand> b = operand(node.inputs, "IN_1");
    if (!b.ok()) return b.takeStatus();
    for (const Operand* each : {&a.value(), &b.value()})
      for (size_t d = 0; d < 4; ++d)
        if (each->dim(d) != 1 && each->dim(d) != y.value().dim(d))
          return refuse("an operand of ADD does not broadcast");
    const auto broadcast = [](const Operand& from, int64_t n, int64_t c, int64_t h, int64_t w) {
      return from.get(from.dim(0) == 1 ? 0 : n, from.dim(1) == 1 ? 0 : c, from.dim(2) == 1 ? 0 : h,
                      from.dim(3) == 1 ? 0 : w);
    };
    forEach(y.value().dims(), [&](int64_t n, int64_t c, int64_t h, int64_t w) {
      y.value().set(n, c, h, w,
                    broadcast(a.value(), n, c, h, w) + broadcast(b.value(), n, c, h, w));
    });
    return Status::okay();
  }

  const OperationGraph& graph_;
  const std::map<int64_t, Memory>& memory_;
  std::map<std::string, std::vector<std::byte>> virtual_;
};

}  // namespace

size_t bytesOf(const std::string& type) {
  if (type == "FLOAT") return 4;
  return type == "HALF" || type == "BFLOAT16" ? 2 : 0;
}

float load(const std::string& type, const std::byte* at) {
  if (type == "FLOAT") {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return type == "HALF" ? float16ToFloat32(bits) : bfloat16ToFloat32(bits);
}

void store(const std::string& type, std::byte* at, float value) {
  if (type == "FLOAT") {
    std::memcpy(at, &value, sizeof value);
    return;
  }
  const uint16_t bits = type == "HALF" ? halfBits(value) : bfloatBits(value);
  std::memcpy(at, &bits, sizeof bits);
}

Result<OperationGraph> parseGraph(const std::string& source) {
  Result<json::Value> parsed = json::parse(source);
  if (!parsed.ok()) return parsed.takeStatus();
  const json::Value *tensors = parsed.value().find("tensors"),
                    *nodes = parsed.value().find("nodes");
  if (tensors == nullptr || nodes == nullptr) return refuse("the graph has no tensors or no nodes");
  OperationGraph graph;
  for (const auto& [name, value] : tensors->object) {
    const json::Value *isVirtual = value.find("is_virtual"), *uid = value.find("uid");
    if (isVirtual == nullptr || uid == nullptr) return refuse("tensor " + name + " lacks members");
    GraphTensor tensor = {name,
                          text(value, "data_type"),
                          integers(value, "dim"),
                          integers(value, "stride"),
                          isVirtual->boolean,
                          uid->integer};
    if (tensor.dim.size() == 3 && tensor.stride.size() == 3) {  // a matrix, of one batch
      tensor.dim.insert(tensor.dim.begin(), 1);
      tensor.stride.insert(tensor.stride.begin(), 0);
    }
    graph.tensors[name] = std::move(tensor);
  }
  for (const json::Value& value : nodes->array) {
    GraphNode node;
    node.tag = text(value, "tag");
    node.mode = text(value, node.tag == "CONV_FPROP" ? "math_mode" : "mode");
    node.computeType = text(value, "compute_data_type");
    node.inputs = ports(value, "inputs");
    node.outputs = ports(value, "outputs");
    node.prePadding = integers(value, "pre_padding");
    node.postPadding = integers(value, "post_padding");
    node.stride = integers(value, "stride");
    node.dilation = integers(value, "dilation");
    const bool conv = node.tag == "CONV_FPROP";
    for (const auto* two : {&node.prePadding, &node.postPadding, &node.stride, &node.dilation})
      if (conv && two->size() != 2) return refuse("a convolution of other than two dimensions");
    graph.nodes.push_back(std::move(node));
  }
  return graph;
}

Status interpret(const OperationGraph& graph, const std::map<int64_t, Memory>& memory) {
  return Interpreter(graph, memory).run();
}

}  // namespace resnet::cuda::test
