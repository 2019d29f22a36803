// SPDX-License-Identifier: MIT
// bench/peers/onnx_model.hpp -- the bytes of an ONNX model that is a single node. Enough of protobuf's wire format for
// that: a field is its number and wire type, then a varint, four bytes, or a length and as many bytes.
//
// Field numbers are those of onnx.proto.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace bench::onnx {

class Message {
 public:
  Message& integer(int field, std::int64_t value) { return key(field, 0).varint(static_cast<std::uint64_t>(value)); }
  Message& real(int field, float value) {
    key(field, 5);
    char bytes[sizeof(value)];
    std::memcpy(bytes, &value, sizeof(value));
    bytes_.append(bytes, sizeof(value));
    return *this;
  }
  Message& text(int field, std::string_view value) {
    key(field, 2).varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(int field, Message const& value) { return text(field, value.bytes_); }
  std::string const& bytes() const { return bytes_; }

 private:
  Message& key(int field, int wire_type) { return varint(static_cast<std::uint64_t>(field << 3 | wire_type)); }
  Message& varint(std::uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_ += static_cast<char>((value & 127) | 128);
    bytes_ += static_cast<char>(value);
    return *this;
  }
  std::string bytes_;
};

using Shape = std::vector<std::int64_t>;

// A vector that the model holds, in the storage of `type`.
struct Constant {
  std::string name;
  std::int64_t size;
  std::string_view bytes;
};

// inputs and outputs: all of `shape`; an empty name is an optional output that nobody wants.
struct Node {
  std::string operation;
  std::string domain;  // "" is ONNX itself
  std::vector<std::string> inputs;
  std::vector<Constant> constants;  // follow the inputs
  std::vector<std::string> outputs;
  bool axis;  // has the attribute axis = -1
};

inline Message value_info(std::string const& name, int type, Shape const& shape) {
  Message dimensions;
  for (auto size : shape) dimensions.message(1, Message().integer(1, size));
  return Message().text(1, name).message(2, Message().message(1, Message().integer(1, type).message(2, dimensions)));
}

inline std::string model(Node const& what, int type, Shape const& shape, float epsilon) {
  Message node, graph;
  for (auto const& name : what.inputs) {
    node.text(1, name);
    graph.message(11, value_info(name, type, shape));
  }
  for (auto const& c : what.constants) {
    node.text(1, c.name);
    graph.message(5, Message().integer(1, c.size).integer(2, type).text(8, c.name).text(9, c.bytes));
  }
  for (auto const& name : what.outputs) {
    node.text(2, name);
    if (!name.empty()) graph.message(12, value_info(name, type, shape));
  }
  node.text(3, "norm").text(4, what.operation).text(7, what.domain);
  node.message(5, Message().text(1, "epsilon").real(2, epsilon).integer(20, 1));
  if (what.axis) node.message(5, Message().text(1, "axis").integer(3, -1).integer(20, 2));
  graph.message(1, node).text(2, "bench");
  return Message()
      .integer(1, 8)  // IR version
      .message(7, graph)
      .message(8, Message().text(1, "").integer(2, 17))  // the operator set that has LayerNormalization
      .message(8, Message().text(1, "com.microsoft").integer(2, 1))
      .bytes();
}

}  // namespace bench::onnx
