// SPDX-License-Identifier: MIT
// foldnorm/graph/known_values.hpp -- what the analysis may know about parameters: nothing, or their values.
//
// A parameter that is left out is neutral (gain 1, shift 0). A named one is taken to be generic unless its values are
// given and show otherwise.
#pragma once

#include <foldnorm/fold/centering.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>

#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm::detail {

class KnownValues {
 public:
  using IsCentered = std::function<bool(std::string const&)>;

  // `parameters` may be null: then no values are known. `is_centered`, which may be empty, knows of others whether they
  // are. Graph and parameters are not owned.
  KnownValues(Graph const& graph, Parameters const* parameters, IsCentered is_centered = {})
      : graph_(graph), parameters_(parameters), is_centered_(std::move(is_centered)) {}

  // Are its values there, and of its size?
  bool is_known(ParameterId id) const {
    return id.present() && known(id, [](auto const&) { return true; });
  }
  // Equal on all of [begin, end)? An absent parameter is.
  bool is_uniform(ParameterId id, Index begin, Index end) const {
    return !id.present() || known(id, [&](auto const& value) {
      Index i = begin;
      while (i < end && value(i, 0) == value(begin, 0)) ++i;
      return i == end;
    });
  }
  // Sum over [begin, end) zero, up to rounding in double whatever the type (no fold has rounded it, and a sum that is
  // taken for zero is lost)? An absent parameter's is.
  bool has_zero_sum(ParameterId id, Index begin, Index end) const {
    return !id.present() || known(id, [&](auto const& value) {
      return is_centered(value.col(0).segment(begin, end - begin), unit_roundoff<double>());
    });
  }
  // Zero on all of [begin, end)? An absent parameter is.
  bool is_zero(ParameterId id, Index begin, Index end) const {
    return is_uniform(id, begin, end) && has_zero_sum(id, begin, end);
  }
  // All ones? An absent parameter's are.
  bool is_one(ParameterId id, Index count) const {
    return !id.present() || known(id, [&](auto const& value) {
      Index i = 0;
      while (i < count && static_cast<double>(value(i, 0)) == 1) ++i;
      return i == count;
    });
  }
  // Does every column of each of these sum to zero?
  bool are_centered(std::vector<ParameterId> const& ids) const {
    for (ParameterId const id : ids) {
      std::string const& name = graph_.parameter(id).name;
      bool const is_elsewhere = is_centered_ && !(parameters_ && parameters_->contains(name));
      if (is_elsewhere && is_centered_(name)) continue;
      if (!known(id, [](auto const& value) { return is_centered(value); })) return false;
    }
    return true;
  }

 private:
  // Values that are missing or of the wrong size tell nothing: the analysis is total, the rewrite reports them.
  template <class Question>
  bool known(ParameterId id, Question ask) const {
    ParameterDescription const& description = graph_.parameter(id);
    if (!parameters_ || !parameters_->contains(description.name)) return false;
    return std::visit(
        [&](auto const& value) {
          bool const fits = value.rows() == description.rows && value.size() > 0 &&
                            (description.per_token || value.cols() == description.columns);
          return fits && ask(value);
        },
        parameters_->at(description.name));
  }

  Graph const& graph_;
  Parameters const* parameters_;
  IsCentered is_centered_;
};

}  // namespace foldnorm::detail
