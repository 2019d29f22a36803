// SPDX-License-Identifier: MIT
// foldnorm/graph/affine_moves.hpp -- which norms can hand gamma and beta on to the layers that read them.
//
// before:  n = rms_norm(x; gamma, beta)    y = linear(n; W, b)
// after:   n = rms_norm(x)                 y = linear(n; W diag(gamma), W beta + b)
//
// Legal iff all that reads the norm is linear, and takes it by weights that nobody else uses. It changes no verdict on
// centering: a linear layer forgives its input no shift and asks it for no zero mean, so that nothing in those passes
// goes through a norm whose affine part moves; P on the outputs of W and diag(gamma) on its inputs commute.
// FlashNorm, arXiv:2407.09577, for rms_norm; the conditions are derived for this library (docs/folding.md).
#pragma once

#include <foldnorm/graph/fold_facts.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/known_values.hpp>
#include <foldnorm/graph/rules.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::detail {

// One pass forward finds what each norm's value reaches, one over the uses of each reader's parameters what they are
// shared with.
class AffineMoves {
 public:
  // `untied`: the tables whose heads get a copy, which can take gamma where the table cannot.
  AffineMoves(FoldFacts const& facts, KnownValues const& values, std::vector<std::string> const& untied)
      : facts_(facts), graph_(facts.graph()), untied_(graph_.parameters().size(), false) {
    passed_.fill(std::vector<NodeId>(untied_.size()));
    for (std::string const& table : untied) untied_[at(graph_.find_parameter(table).value())] = true;
    find_readers(values);
    for (AffineVerdict& verdict : verdicts_) {
      if (facts.is_left_alone(verdict.norm)) verdict.refusal = refusal(Reason::left_alone, verdict.norm);
      if (verdict.moves()) verdict.refusal = obstacle(verdict);
      if (!verdict.moves()) verdict.readers.clear();
    }
  }

  std::vector<AffineVerdict> take() && { return std::move(verdicts_); }

 private:
  static constexpr std::size_t nobody = static_cast<std::size_t>(-1);
  static std::size_t at(NodeId id) { return static_cast<std::size_t>(id.index); }
  static std::size_t at(ParameterId id) { return static_cast<std::size_t>(id.index); }

  static bool is_linear(Node const& node) { return node.op == Operator::linear || node.op == Operator::conv; }

  // Copies or averages whole tokens: A (gamma .* x + beta) = gamma .* (A x) + beta.
  static bool passes_affine(Operator op) {
    switch (op) {
      case Operator::identity:
      case Operator::dropout:
      case Operator::drop_path:
      case Operator::permute_tokens:
      case Operator::mean_tokens:
        return true;
      default:
        return false;
    }
  }

  Refusal refusal(Reason reason, NodeId blame) const { return {reason, blame, graph_.node(blame).name}; }

  void find_readers(KnownValues const& values) {
    std::vector<std::size_t> carried(graph_.nodes().size(), nobody);  // whose gamma and beta a value bears
    for (std::size_t n = 0; n < carried.size(); ++n) {
      Node const& node = graph_.nodes()[n];
      NodeId const id{static_cast<std::int32_t>(n)};
      for (NodeId const input : node.inputs) {
        std::size_t const source = carried[at(input)];
        if (source == nobody) continue;
        AffineVerdict& verdict = verdicts_[source];
        if (is_linear(node)) {
          verdict.readers.push_back(id);
        } else if (passes_affine(node.op)) {
          carried[n] = source;
        } else if (verdict.moves()) {
          verdict.refusal = refusal(node.op == Operator::output ? Reason::output : Reason::read_unforgiven, id);
        }
      }
      if (node.op == Operator::layer_norm || node.op == Operator::rms_norm) {
        ParameterId const gamma = node.parameter(Key::gamma), beta = node.parameter(Key::beta);
        bool const is_neutral = values.is_one(gamma, node.features) && values.is_zero(beta, 0, node.features);
        if (is_neutral) continue;  // absent, or what a norm keeps that has to have them
        carried[n] = verdicts_.size();
        verdicts_.push_back({id, node.name, {}, !values.is_zero(beta, 0, node.features), std::nullopt});
      }
      if (carried[n] == nobody || !facts_.readers().of(id).empty()) continue;
      AffineVerdict& verdict = verdicts_[carried[n]];
      if (verdict.moves()) verdict.refusal = refusal(Reason::output, id);
    }
  }

  // What keeps the readers, all of them linear, from taking gamma and beta.
  std::optional<Refusal> obstacle(AffineVerdict const& verdict) {
    for (NodeId const reader : verdict.readers) {
      Node const& node = graph_.node(reader);
      // Zeros around a sequence are no beta: outputs near the border would miss it in their sums.
      if (verdict.shifts && kernel_of(node) > 1) return refusal(Reason::read_unforgiven, reader);
      for (Key const role : {Key::weight, Key::bias}) {
        if (!node.parameter(role).present() || (role == Key::bias && !verdict.shifts)) continue;
        if (auto const other = use_apart(verdict, node, role)) return refusal(Reason::tied, *other);
      }
    }
    return std::nullopt;
  }

  // The first use of a reader's parameter that would not change along with it.
  std::optional<NodeId> use_apart(AffineVerdict const& verdict, Node const& reader, Key role) {
    ParameterId const parameter = reader.parameter(role);
    bool const is_copied = role == Key::weight && facts_.is_head(reader) && untied_[at(parameter)];
    NodeId& passed = passed_[is_copied ? 2 : role == Key::bias ? 1 : 0][at(parameter)];
    if (passed == verdict.norm) return std::nullopt;
    for (ParameterUse const& use : graph_.parameter(parameter).uses) {
      Node const& user = graph_.node(use.node);
      bool const keeps_table = use.role != Key::weight || user.op != Operator::linear;
      if (is_copied && keeps_table) continue;
      bool const reads_norm = use.role == role && std::ranges::binary_search(verdict.readers, use.node);
      if (!reads_norm || !changes_alike(user, reader, role)) return use.node;
    }
    passed = verdict.norm;
    return std::nullopt;
  }

  // Two readers of one norm: do the columns of one weight meet the same inputs in both? A bias gets its weight's W
  // beta.
  static bool changes_alike(Node const& a, Node const& b, Key role) {
    if (role == Key::bias) return a.parameter(Key::weight) == b.parameter(Key::weight);
    return kernel_of(a) == kernel_of(b) && groups_of(a) == groups_of(b);
  }

  FoldFacts const& facts_;
  Graph const& graph_;
  std::vector<bool> untied_;  // by parameter
  // By parameter, as a weight, a bias, a head's copy: the norm whose readers have all its uses.
  std::array<std::vector<NodeId>, 3> passed_;
  std::vector<AffineVerdict> verdicts_;
};

}  // namespace foldnorm::detail
