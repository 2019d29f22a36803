// SPDX-License-Identifier: MIT
// inference/buffer_plan.hpp -- where each value of a graph lives: one block of memory, laid out before the first run.
//
// A value's place is free again behind its last reader, so that a deep network needs the memory of its widest moment.
// What only renames a value (identity, dropout at inference, an output) and what works element by element on a value
// that nobody reads later share the place of that value.
#pragma once

#include <foldnorm/graph/graph.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <vector>

namespace foldnorm::inference {

class BufferPlan {
 public:
  // tokens: of every value, by node (token_counts).
  BufferPlan(Graph const& graph, std::vector<Index> const& tokens) : offsets_(graph.nodes().size(), no_place) {
    find_last_readers(graph);
    for (std::size_t n = 0; n < offsets_.size(); ++n) {
      Node const& node = graph.nodes()[n];
      Index const size = padded(node.features * tokens[n]);
      if (std::size_t const shared = shared_value(graph, tokens, n); shared != no_value) {
        offsets_[n] = offsets_[shared];
        last_reader_[n] = std::max(last_reader_[n], last_reader_[shared]);
        last_reader_[shared] = 0;  // the place lives on under the new name
      } else if (size > 0) {
        offsets_[n] = take(size);
      }
      for (NodeId const input : node.inputs) {
        std::size_t const i = static_cast<std::size_t>(input.index);
        if (last_reader_[i] == n && offsets_[i] != no_place) {
          give_back(offsets_[i], padded(graph.node(input).features * tokens[i]));
          last_reader_[i] = 0;  // once, even if read twice
        }
      }
    }
  }

  Index size() const { return size_; }  // floats
  Index offset(NodeId id) const { return offsets_[static_cast<std::size_t>(id.index)]; }

  static bool renames(Operator op) {
    return op == Operator::identity || op == Operator::dropout || op == Operator::drop_path || op == Operator::output;
  }

 private:
  static constexpr Index no_place = -1;
  static constexpr std::size_t no_value = static_cast<std::size_t>(-1);

  static bool element_by_element(Operator op) {
    switch (op) {
      case Operator::add:
      case Operator::add_parameter:
      case Operator::relu:
      case Operator::gelu:
      case Operator::center:
        return true;  // norms could, but then could not be repeated to be timed
      default:
        return false;
    }
  }

  static Index padded(Index floats) { return (floats + 15) / 16 * 16; }  // to cache lines

  // Inputs and outputs stay: whoever calls writes and reads them between runs.
  void find_last_readers(Graph const& graph) {
    std::size_t const never = graph.nodes().size();
    last_reader_.assign(never, 0);
    for (std::size_t n = 0; n < never; ++n) {
      Node const& node = graph.nodes()[n];
      if (node.op == Operator::input || node.op == Operator::output) last_reader_[n] = never;
      for (NodeId const input : node.inputs) {
        auto& last = last_reader_[static_cast<std::size_t>(input.index)];
        last = std::max(last, n);
      }
    }
  }

  // The input whose place node n may write to.
  std::size_t shared_value(Graph const& graph, std::vector<Index> const& tokens, std::size_t n) const {
    Node const& node = graph.nodes()[n];
    if (node.inputs.empty()) return no_value;
    if (renames(node.op)) return static_cast<std::size_t>(node.inputs[0].index);
    if (!element_by_element(node.op)) return no_value;
    // A sum of more than two reads the operands behind the second when it has written already.
    for (std::size_t operand = 0; operand < std::min<std::size_t>(2, node.inputs.size()); ++operand) {
      NodeId const input = node.inputs[operand];
      std::size_t const i = static_cast<std::size_t>(input.index);
      bool const read_once = std::ranges::count(node.inputs, input) == 1;
      if (last_reader_[i] == n && read_once && tokens[i] == tokens[n]) return i;
    }
    return no_value;
  }

  // The first gap that is large enough, or the end.
  Index take(Index size) {
    for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap) {
      auto const [offset, length] = *gap;
      if (length < size) continue;
      gaps_.erase(gap);
      if (length > size) gaps_.emplace(offset + size, length - size);
      return offset;
    }
    size_ += size;
    return size_ - size;
  }

  void give_back(Index offset, Index length) {
    auto const gap = gaps_.emplace(offset, length).first;
    if (auto const next = std::next(gap); next != gaps_.end() && offset + length == next->first) {
      gap->second += next->second;
      gaps_.erase(next);
    }
    if (gap != gaps_.begin()) {
      auto const before = std::prev(gap);
      if (before->first + before->second == offset) {
        before->second += gap->second;
        gaps_.erase(gap);
      }
    }
  }

  std::vector<Index> offsets_;  // by node
  std::vector<std::size_t> last_reader_;
  std::map<Index, Index> gaps_;  // offset, length
  Index size_ = 0;
};

}  // namespace foldnorm::inference
