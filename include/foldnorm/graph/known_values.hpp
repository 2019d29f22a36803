// SPDX-License-Identifier: MIT
// foldnorm/graph/known_values.hpp -- what the analysis may know about parameters: nothing, or their values.
//
// A parameter that is left out is neutral (gain 1, shift 0). A named one is taken to be generic unless its values are
// given and show otherwise.
#pragma once

#include <foldnorm/fold/centering.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>

#include <string>
#include <variant>
#include <vector>

namespace foldnorm::detail {

class KnownValues {
 public:
  // `parameters` may be null: then no values are known. Neither argument is owned.
  KnownValues(Graph const& graph, Parameters const* parameters) : graph_(graph), parameters_(parameters) {}

  // Equal on all of [begin, end)? An absent parameter is.
  bool is_uniform(ParameterId id, Index begin, Index end) const {
    return !id.present() || known(id, [&](auto const& value) {
      Index i = begin;
      while (i < end && value(i, 0) == value(begin, 0)) ++i;
      return i == end;
    });
  }
  // Sum over [begin, end) zero up to the rounding that a fold leaves? An absent parameter's is.
  bool has_zero_sum(ParameterId id, Index begin, Index end) const {
    return !id.present() ||
           known(id, [&](auto const& value) { return is_centered(value.col(0).segment(begin, end - begin)); });
  }
  // Zero on all of [begin, end)? An absent parameter is.
  bool is_zero(ParameterId id, Index begin, Index end) const {
    return is_uniform(id, begin, end) && has_zero_sum(id, begin, end);
  }
  // Does every column of each of these sum to zero?
  bool are_centered(std::vector<ParameterId> const& ids) const {
    for (ParameterId const id : ids) {
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
};

}  // namespace foldnorm::detail
