// SPDX-License-Identifier: MIT
// foldnorm/onnx/form_steps.hpp -- what forms of operators are made of: nodes of ONNX one after the other, their
// constants, and parameters as initializers.
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/onnx/model_builder.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace foldnorm::detail {

// A value has its node's name, an initializer its parameter's. What else is needed is NODE:1, NODE:2, ..., and a
// parameter is NAME::SHAPE where its name is a node's or its storage serves in several shapes: no name of a layer graph
// has a colon.
class OnnxFormSteps {
 public:
  OnnxFormSteps(Graph const& graph, Parameters const& parameters, OnnxModelBuilder& out)
      : graph_(graph), parameters_(parameters), out_(out) {}

  // From here on, steps compute this node's value; the last one of them is it.
  void begin(Node const& node) {
    node_ = &node;
    names_ = 0;
  }
  void end() { out_.rename_last_node(node_->name); }

  using Names = std::vector<std::string>;

  std::string const& in(std::size_t i) const { return input(i).name; }

  // One node more. The last one computes the value.
  std::string step(std::string_view operation, Names const& inputs,
                   std::initializer_list<OnnxAttribute> attributes = {}) {
    std::string name = fresh_name();
    out_.add_node(operation, inputs, name, std::span(attributes.begin(), attributes.size()));
    return name;
  }

  std::string scalar(double value) {
    std::string name = fresh_name();
    auto const rounded = static_cast<float>(value);
    out_.add_initializer(name, {}, std::span(&rounded, 1));
    return name;
  }
  std::string ones(Index count) {
    std::string name = fresh_name();
    out_.add_initializer(name, {count}, std::vector<float>(static_cast<std::size_t>(count), 1.0F));
    return name;
  }
  std::string integers(OnnxSizes const& values) {
    std::string name = fresh_name();
    out_.add_initializer(name, {static_cast<std::int64_t>(values.size())}, std::span(values));
    return name;
  }
  std::string reshape(std::string const& x, OnnxSizes const& shape) { return step("Reshape", {x, integers(shape)}); }

  bool has(Key role) const { return node_->parameter(role).present(); }
  ParameterDescription const& description(Key role) const { return graph_.parameter(node_->parameter(role)); }

  // The initializer of a parameter in one shape; `values` makes its numbers from the matrix.
  template <class Values>
  std::string initializer(Key role, OnnxSizes const& shape, Values const& values) {
    std::string const& plain = description(role).name;
    std::string shaped = plain + "::";
    for (std::size_t i = 0; i < shape.size(); ++i) shaped += (i > 0 ? "x" : "") + std::to_string(shape[i]);
    auto const [found, is_new] = initializers_.emplace(shaped, shaped);
    if (!is_new) return found->second;
    if (!graph_.find_node(plain) && plain_names_.insert(plain).second) found->second = plain;
    Matrix<float> const numbers = values(parameters_.as<float>(plain));
    out_.add_initializer(found->second, shape, {numbers.data(), static_cast<std::size_t>(numbers.size())});
    return found->second;
  }
  std::string vector(Key role) {
    return initializer(role, {node_->features}, [](Matrix<float> value) { return value; });
  }
  // As it is: the shape is that of the transpose.
  std::string matrix(Key role) {
    auto const shape = std::visit(
        [](auto const& value) {
          return OnnxSizes{value.cols(), value.rows()};
        },
        parameters_.at(description(role).name));
    return initializer(role, shape, [](Matrix<float> value) { return value; });
  }

  Node const& node() const { return *node_; }
  Node const& input(std::size_t i) const { return graph_.node(node_->inputs[i]); }

 private:
  std::string fresh_name() { return node_->name + ":" + std::to_string(++names_); }

  Graph const& graph_;
  Parameters const& parameters_;
  OnnxModelBuilder& out_;
  Node const* node_ = nullptr;                       // the one at hand
  int names_ = 0;                                    // made up for it
  std::map<std::string, std::string> initializers_;  // NAME::SHAPE to the name in the model
  std::set<std::string> plain_names_;                // of parameters that have kept theirs
};

}  // namespace foldnorm::detail
