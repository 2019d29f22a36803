// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/parameter_tensors.hpp -- which constants of a model are parameters of the layer graph, and
// whether all their uses are: each other use of a tensor counts against changing it.
#pragma once

#include <foldnorm/onnx/detail/constant_layouts.hpp>
#include <foldnorm/onnx/model_index.hpp>
#include <foldnorm/onnx/network.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace foldnorm::detail {

// What a parameter is to the layer graph: its size there depends on it.
enum class ParameterKind : std::uint8_t { weight, table, vector, tokens };

class ParameterTensors {
 public:
  // The index is not owned.
  explicit ParameterTensors(OnnxIndex const& index) : index_(index) {
    for (int n = 0; n < index_.size(); ++n) {
      auto const& node = index_.node(n);
      if (node.op_type() == "Identity" || node.op_type() == "Transpose") find_view(node);
    }
    for (int n = 0; n < index_.size(); ++n) {
      if (auto const table = looked_up(index_.node(n))) make_table(*table);
    }
  }

  // A constant of a type that weights have, as it is read here.
  std::optional<OnnxConstant> constant(std::string const& read_as) const {
    auto const view = constant_views_.find(read_as);
    bool const is_view = view != constant_views_.end();
    OnnxConstant found{read_as, nullptr, is_view ? view->second.first : read_as, is_view && view->second.second};
    found.tensor = index_.constant(found.name);
    bool const is_weight = found.tensor && is_weight_type(found.tensor->data_type()) &&
                           element_count(*found.tensor).value_or(0) > 0 &&
                           *element_count(*found.tensor) <= static_cast<std::uint64_t>(largest_count);
    return is_weight ? std::optional(found) : std::nullopt;
  }
  // The table of an embedding: a Gather along the first of a constant's two axes.
  std::optional<OnnxConstant> looked_up(::onnx::NodeProto const& node) const {
    bool const is_lookup = node.op_type() == "Gather" && index_.is_standard(node) && node.input_size() == 2 &&
                           node.output_size() == 1 && integer_attribute(node, "axis", 0) == 0;
    auto const table = is_lookup ? constant(node.input(0)) : std::nullopt;
    return table && !table->is_transposed && table->tensor->dims_size() == 2 ? table : std::nullopt;
  }
  bool is_table(OnnxConstant const& constant) const { return tables_.contains(constant.name); }
  void make_table(OnnxConstant const& constant) { tables_.insert(constant.name); }

  // Can the constant be such a parameter? Not if it is one already, of another kind or layout.
  bool fits(OnnxConstant const& constant, OnnxLayout const& layout, ParameterKind kind) const {
    auto const known = known_.find(constant.name);
    if (is_table(constant) && kind != ParameterKind::table) return false;
    return known == known_.end() || (known->second.kind == kind && known->second.layout == layout);
  }
  // Takes this use of it as that of a parameter: its name there, which is to be set if it is still empty. Precondition:
  // it fits.
  std::string& take_use(OnnxConstant const& constant, OnnxLayout const& layout, ParameterKind kind) {
    ++uses_taken_[constant.read_as];
    return known_.try_emplace(constant.name, KnownParameter{{}, layout, kind}).first->second.parameter;
  }
  ParameterKind kind(std::string const& tensor) const { return known_.at(tensor).kind; }

  // Once all uses are taken: that of what an identity or transposition reads is, if all of its own value are.
  void take_views() {
    for (auto view = view_reads_.rbegin(); view != view_reads_.rend(); ++view) {
      if (!has_other_uses(view->first)) ++uses_taken_[view->second];
    }
  }
  // Is the tensor read where no rule has taken it?
  bool has_other_uses(std::string const& tensor) { return uses_taken_[tensor] != index_.uses(tensor); }

 private:
  // An Identity or Transpose of a constant changes no number: what reads it reads the constant.
  void find_view(::onnx::NodeProto const& node) {
    if (!index_.is_standard(node) || node.input_size() != 1 || node.output_size() != 1) return;
    auto const source = constant(node.input(0));
    if (!source) return;
    bool const is_transposition = node.op_type() == "Transpose";
    if (is_transposition) {
      auto const* const perm = find_attribute(node, "perm");
      bool const swaps = !perm || (perm->ints_size() == 2 && perm->ints(0) == 1 && perm->ints(1) == 0);
      if (source->tensor->dims_size() != 2 || !swaps) return;
    }
    constant_views_[node.output(0)] = {source->name, source->is_transposed != is_transposition};
    view_reads_.emplace_back(node.output(0), node.input(0));
  }

  struct KnownParameter {
    std::string parameter;
    OnnxLayout layout;
    ParameterKind kind = ParameterKind::weight;
  };
  OnnxIndex const& index_;
  std::unordered_set<std::string> tables_;
  std::unordered_map<std::string, KnownParameter> known_;                         // by tensor
  std::unordered_map<std::string, std::pair<std::string, bool>> constant_views_;  // tensor, transposed?
  std::vector<std::pair<std::string, std::string>> view_reads_;                   // a view, and what it reads
  std::unordered_map<std::string, std::size_t> uses_taken_;
};

}  // namespace foldnorm::detail
