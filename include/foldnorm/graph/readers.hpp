// SPDX-License-Identifier: MIT
// foldnorm/graph/readers.hpp -- who reads each value of a graph: the uses of every node, in node order.
#pragma once

#include <foldnorm/graph/graph.hpp>

#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

namespace foldnorm::detail {

struct Reader {
  NodeId node;
  std::size_t operand = 0;
  Index before = 0;  // features of the node's operands in front of that one
};

// All lists in two arrays: a graph of a million nodes costs two allocations, not a million.
class Readers {
 public:
  explicit Readers(Graph const& graph) : begin_(graph.nodes().size() + 1) {
    for (Node const& node : graph.nodes()) {
      for (NodeId const input : node.inputs) ++begin_[static_cast<std::size_t>(input.index) + 1];
    }
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
    readers_.resize(begin_.back());
    std::vector<std::size_t> next(begin_.begin(), begin_.end() - 1);
    for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
      std::vector<NodeId> const& inputs = graph.nodes()[n].inputs;
      Index before = 0;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        auto const input = static_cast<std::size_t>(inputs[i].index);
        readers_[next[input]++] = {NodeId{static_cast<std::int32_t>(n)}, i, before};
        before += graph.nodes()[input].features;
      }
    }
  }

  std::span<Reader const> of(NodeId node) const {
    auto const n = static_cast<std::size_t>(node.index);
    return std::span(readers_).subspan(begin_[n], begin_[n + 1] - begin_[n]);
  }

 private:
  std::vector<std::size_t> begin_;  // of each node's list; one past the last at the end
  std::vector<Reader> readers_;
};

}  // namespace foldnorm::detail
