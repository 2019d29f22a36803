// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/other_uses.hpp -- what else reads the tensors that are parameters of a layer graph.
#pragma once

#include <foldnorm/onnx/detail/network_builder.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace foldnorm::detail {

// A layer of the parameter's, as its first use has it, of another input.
inline void add_other_use(NetworkBuilder& to, ParameterDescription const& parameter, std::string const& tensor) {
  Node const first = to.graph().node(parameter.uses.front().node);  // a copy: the graph grows
  std::string const name = to.fresh_name(tensor, ".elsewhere");
  Index const inputs = first.inputs.empty() ? 0 : to.graph().node(first.inputs[0]).features;
  auto const source = [&](Index count) { return to.graph().input(to.fresh_name(name, ".input"), count); };
  NodeId use{};
  if (parameter.is_table) {
    use = to.graph().embedding(name, to.graph().ids(to.fresh_name(name, ".ids"), parameter.columns), parameter.rows,
                               parameter.name);
  } else if (parameter.per_token) {
    use = to.graph().add_token_parameter(name, source(parameter.rows), parameter.name);
  } else if (parameter.uses.front().role == Key::weight && first.op == Operator::conv) {
    use = to.graph().conv(name, source(inputs), parameter.rows, first.count(Key::kernel), parameter.name, {},
                          first.count(Key::groups));
  } else if (parameter.uses.front().role == Key::weight) {
    use = to.graph().linear(name, source(parameter.columns), parameter.rows, parameter.name);
  } else {
    use = to.graph().add_parameter(name, source(parameter.rows), parameter.name);
  }
  NodeId const output = to.graph().output(to.fresh_name(name, ".output"), use);
  auto const readers = to.index.readers(tensor);
  for (auto n = static_cast<std::int32_t>(to.network.origins.size()); n <= output.index; ++n) {
    to.remember(NodeId{n}, {readers.empty() ? OnnxIndex::nobody : readers.back(), "", 0});
  }
}

// When all nodes are there: values of vectors are read, and every use of a parameter's tensor that no rule has taken
// becomes a layer whose value is an output. The analysis then finds the tensor shared with somebody who would see a
// change.
inline void take_parameters(NetworkBuilder& to) {
  to.tensors.take_views();
  std::vector<ParameterDescription> const parameters(to.graph().parameters().begin(), to.graph().parameters().end());
  for (ParameterDescription const& parameter : parameters) {
    OnnxParameter const& source = to.network.sources.at(parameter.name);
    if (source.tensor.empty()) continue;
    auto const& tensor = *to.index.constant(source.tensor);
    check_tensor(tensor, source.layout, to.file);
    bool const is_vector = to.tensors.kind(source.tensor) == ParameterKind::vector;
    if (is_vector) to.network.parameters.set(parameter.name, read_tensor(tensor, source.layout, to.file));
    if (to.tensors.has_other_uses(source.tensor)) add_other_use(to, parameter, source.tensor);
  }
}

}  // namespace foldnorm::detail
