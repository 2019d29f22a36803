// SPDX-License-Identifier: MIT
// tests/graph/random_graph.hpp -- random layer graphs from a seed: every operator that can be evaluated, small sizes.
//
// A graph grows from sources by random moves (a plain operator, or a macro: residual stream, pre-norm block, fused
// attention, split into slices). At the end most values that nobody read yet get a norm and an output, so that a good
// share of the norms folds; the rest stays raw or unread, which is observed.
#pragma once

#include <foldnorm/graph/graph.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace fuzz {

using foldnorm::Graph;
using foldnorm::Index;
using foldnorm::Key;
using foldnorm::KeyValues;
using foldnorm::NodeId;
using foldnorm::Operator;

// The standard fixes the bits of mt19937_64 but not of its distributions: these are the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  Index below(Index count) { return static_cast<Index>(engine_() % static_cast<std::uint64_t>(count)); }
  Index between(Index first, Index last) { return first + below(last - first + 1); }
  double unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  bool chance(double probability) { return unit() < probability; }
  template <class List>
  auto const& pick(List const& list) {
    return list[static_cast<std::size_t>(below(static_cast<Index>(list.size())))];
  }
  std::uint64_t seed() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

struct RandomGraphOptions {
  Index most_moves = 9;
  Index most_features = 12;  // of a producer; concatenated values may have twice as many
  // Off: no operand is read twice by one operator, no value has one token only where that makes an operator trivial.
  bool coincidences = true;
  bool sharing = true;  // parameters with several uses
};

class RandomGraph {
 public:
  RandomGraph(std::uint64_t seed, RandomGraphOptions options) : random_(seed), options_(options) {
    std::vector<Index> const widths{2, 3, 4, 4, 4, 6, 6, 8, 12};
    width_ = std::min(random_.chance(0.06) ? 1 : random_.pick(widths), options_.most_features);
    tokens_ = random_.pick(std::vector<Index>{2, 2, 4, 4, 3, 6});
    share_ = options_.sharing && random_.chance(0.4) ? 0.05 + 0.4 * random_.unit() : 0;
    plain_ = random_.pick(std::vector<double>{0, 0.3, 0.6, 1});
    careful_ = random_.pick(std::vector<double>{0.4, 0.8, 0.95});
    for (Index k = random_.between(1, 2); k > 0; --k) source();
    for (Index k = random_.between(1, options_.most_moves); k > 0; --k) move();
    finish();
  }

  Graph graph() && { return std::move(graph_); }
  Index tokens() const { return tokens_; }  // of every input

 private:
  struct Value {
    NodeId id;
    Index features = 0;
    Index tokens = 0;
  };
  using Numbers = std::vector<std::pair<Key, double>>;

  static double number(Index count) { return static_cast<double>(count); }
  std::string name() { return "n" + std::to_string(graph_.nodes().size()); }

  // A parameter of this size: mostly a new one, sometimes any old one that fits (whatever its role there).
  std::string parameter(Index rows, Index columns, Index per_token_tokens = 0) {
    std::string const tag = per_token_tokens > 0 ? "t" + std::to_string(per_token_tokens) + "." : "p";
    if (random_.chance(share_)) {
      std::vector<std::string> fitting;
      for (auto const& known : graph_.parameters()) {
        if (known.rows != rows || known.columns != columns) continue;
        if (known.name.rfind(tag, 0) == 0) fitting.push_back(known.name);
      }
      if (!fitting.empty()) return random_.pick(fitting);
    }
    return tag + std::to_string(next_parameter_++);
  }
  std::string maybe_parameter(Index rows, double probability) {
    return random_.chance(probability) ? parameter(rows, 1) : std::string();
  }

  Value add(Operator op, std::vector<Value> const& inputs, Numbers numbers = {},
            std::vector<std::pair<Key, std::string>> parameters = {}) {
    std::vector<NodeId> ids;
    for (Value const& input : inputs) ids.push_back(input.id);
    Index tokens = inputs.empty() ? tokens_ : inputs[0].tokens;
    if (op == Operator::mean_tokens || op == Operator::max_tokens) tokens = 1;
    if (op == Operator::merge_tokens) tokens /= static_cast<Index>(numbers[0].second);
    for (std::size_t i = 1; i < inputs.size(); ++i) {
      if (op == Operator::concat_tokens) tokens += inputs[i].tokens;
      if (op == Operator::add || op == Operator::subtract || op == Operator::multiply) {
        tokens = std::max(tokens, inputs[i].tokens);
      }
    }
    NodeId id;
    KeyValues keys{std::move(numbers), std::move(parameters)};
    try {
      id = graph_.append(op, name(), ids, keys);
    } catch (foldnorm::graph_error const&) {  // a shared parameter that does not fit after all (a table, say)
      for (auto& [key, parameter_name] : keys.parameters) {
        if (!parameter_name.empty()) parameter_name = "u" + std::to_string(next_parameter_++);
      }
      id = graph_.append(op, name(), ids, keys);
    }
    Value const value{id, graph_.node(id).features, tokens};
    reads_.resize(graph_.nodes().size(), 0);
    for (NodeId const input : ids) ++reads_[static_cast<std::size_t>(input.index)];
    if (op != Operator::ids && op != Operator::output) values_.push_back(value);
    return value;
  }

  bool is_unread(Value const& value) const { return reads_[static_cast<std::size_t>(value.id.index)] == 0; }

  template <class Predicate>
  std::optional<Value> find(Predicate fits) {
    std::vector<Value> unread, all;
    for (Value const& value : values_) {
      if (!fits(value)) continue;
      all.push_back(value);
      if (is_unread(value)) unread.push_back(value);
    }
    if (all.empty()) return std::nullopt;
    return !unread.empty() && random_.chance(careful_) ? random_.pick(unread) : random_.pick(all);
  }
  Value any() {
    return *find([](Value const&) { return true; });
  }
  // Something to feed into a producer: read by one without harm.
  Value readable() {
    if (random_.chance(0.75)) {
      auto const found = find([&](Value const& value) {
        Operator const op = graph_.node(value.id).op;
        return op == Operator::input || op == Operator::layer_norm || op == Operator::relu || op == Operator::gelu;
      });
      if (found) return *found;
    }
    return any();
  }
  bool is_same(Value const& a, Value const& b) const { return a.id == b.id; }

  Index divisor(Index of) {
    std::vector<Index> divisors;
    for (Index d = 1; d <= of; ++d) {
      if (of % d == 0) divisors.push_back(d);
    }
    return random_.chance(0.35) ? 1 : random_.pick(divisors);
  }
  Index features() { return random_.chance(0.7) ? width_ : random_.between(1, options_.most_features); }

  // --- producers ---------------------------------------------------------------------------------------------------
  Value linear(Value x, Index out) {
    for (auto const& known : graph_.parameters()) {  // a tied head
      bool const fits = known.is_table && known.rows == x.features && known.columns <= options_.most_features;
      if (share_ > 0 && fits && random_.chance(0.2)) {
        return add(Operator::linear, {x}, {{Key::out, number(known.columns)}},
                   {{Key::weight, known.name}, {Key::bias, maybe_parameter(known.columns, 0.3)}});
      }
    }
    return add(Operator::linear, {x}, {{Key::out, number(out)}},
               {{Key::weight, parameter(out, x.features)}, {Key::bias, maybe_parameter(out, 0.6)}});
  }
  Value conv(Value x, Index out) {
    std::vector<Index> groups{1};
    for (Index g = 2; g <= out; ++g) {
      if (out % g == 0 && x.features % g == 0) groups.push_back(g);
    }
    Index const cut = random_.chance(0.6) ? 1 : random_.pick(groups);
    Index const kernel = random_.pick(std::vector<Index>{1, 1, 3, 3, 5});
    return add(Operator::conv, {x},
               {{Key::out, number(out)}, {Key::kernel, number(kernel)}, {Key::groups, number(cut)}},
               {{Key::weight, parameter(out, kernel * (x.features / cut))}, {Key::bias, maybe_parameter(out, 0.6)}});
  }
  Value embedding(Index out) {
    Index const vocab = random_.chance(0.2) ? width_ : random_.between(1, 7);
    Value const ids = add(Operator::ids, {}, {{Key::vocab, number(vocab)}});
    return add(Operator::embedding, {ids}, {{Key::features, number(out)}}, {{Key::table, parameter(out, vocab)}});
  }
  Value add_parameter(Value x) {
    if (random_.chance(0.3)) {
      return add(Operator::add_parameter, {x}, {{Key::per_token, 1}},
                 {{Key::value, parameter(x.features, 0, x.tokens)}});
    }
    return add(Operator::add_parameter, {x}, {}, {{Key::value, parameter(x.features, 1)}});
  }
  Value scaled(Value x) {
    if (random_.chance(0.5)) return add(Operator::scale_channels, {x}, {}, {{Key::value, parameter(x.features, 1)}});
    return add(Operator::batch_norm, {x}, {},
               {{Key::scale, parameter(x.features, 1)}, {Key::shift, parameter(x.features, 1)}});
  }
  Value produce(Index out) {
    double const kind = random_.unit();
    Value y = kind < 0.6 ? linear(readable(), out) : kind < 0.8 ? conv(readable(), out) : embedding(out);
    if (random_.chance(0.15)) y = scaled(y);
    if (random_.chance(0.15)) y = whole_token(y);
    if (random_.chance(0.15)) y = add_parameter(y);
    return y;
  }
  void source() {
    if (random_.chance(0.3)) {
      embedding(width_);
    } else {
      add(Operator::input, {}, {{Key::features, number(features())}});
    }
  }

  // --- plain operators -----------------------------------------------------------------------------------------------
  Value whole_token(Value x) {
    switch (random_.below(5)) {
      case 0:
        return add(Operator::identity, {x});
      case 1:
        return add(Operator::dropout, {x}, {{Key::p, random_.chance(0.2) ? 0 : 0.3}});
      case 2:
        return add(Operator::drop_path, {x}, {{Key::p, 0.25}});
      case 3:
        return add(Operator::scale, {x}, {{Key::by, random_.chance(0.5) ? -1.75 : 0.5 + random_.unit()}});
      default:
        return add(Operator::permute_tokens, {x});
    }
  }
  Value activation(Value x) {
    static std::vector<Operator> const all{Operator::relu,    Operator::gelu,    Operator::silu, Operator::tanh,
                                           Operator::sigmoid, Operator::softmax, Operator::relu};
    return add(random_.pick(all), {x});
  }
  Value norm(Operator op, Value x, Index groups) {
    double const eps = random_.pick(std::vector<double>{1e-5, 1e-5, 1e-3, 0.5});
    return add(
        op, {x}, {{Key::eps, eps}, {Key::groups, number(groups)}},
        {{Key::gamma, maybe_parameter(x.features, 1 - plain_)}, {Key::beta, maybe_parameter(x.features, 1 - plain_)}});
  }
  Value layer_norm(Value x) { return norm(Operator::layer_norm, x, random_.chance(0.65) ? 1 : divisor(x.features)); }
  std::optional<Value> partner(Value x, bool broadcast) {
    return find([&](Value const& y) {
      bool const tokens_fit = y.tokens == x.tokens || (broadcast && (y.tokens == 1 || x.tokens == 1));
      return y.features == x.features && tokens_fit && (options_.coincidences || !is_same(x, y));
    });
  }
  void combine() {
    Value const x = any();
    auto const y = partner(x, options_.coincidences);
    if (!y) return;
    double const kind = random_.unit();
    add(kind < 0.5 ? Operator::add : kind < 0.75 ? Operator::subtract : Operator::multiply, {x, *y});
  }
  void concat_features() {
    Value const x = any();
    std::vector<Value> operands{x};
    for (Index k = random_.between(1, 2); k > 0; --k) {
      auto const y = find([&](Value const& v) {
        return v.tokens == x.tokens &&
               (options_.coincidences ||
                std::none_of(operands.begin(), operands.end(), [&](Value const& o) { return is_same(o, v); }));
      });
      Index sum = y ? y->features : 0;
      for (Value const& operand : operands) sum += operand.features;
      if (y && sum <= 2 * options_.most_features) operands.push_back(*y);
    }
    if (operands.size() > 1) add(Operator::concat_features, operands);
  }
  void concat_tokens() {
    Value const x = any();
    auto const y = find([&](Value const& v) {
      return v.features == x.features && x.tokens + v.tokens <= 12 && (options_.coincidences || !is_same(x, v));
    });
    if (y) add(Operator::concat_tokens, {x, *y});
  }
  Value slice(Value x, Index start, Index length) {
    return add(Operator::slice_features, {x}, {{Key::start, number(start)}, {Key::length, number(length)}});
  }
  void some_slice() {
    Value const x = any();
    Index const length = random_.between(1, x.features);
    slice(x, random_.between(0, x.features - length), length);
  }
  // Consecutive slices of one value, most of them read as they are; sometimes a gap.
  void split() {
    Value const x = any();
    Index const parts = divisor(x.features);
    for (Index k = 0; k < std::min<Index>(parts, 4); ++k) {
      Index const length = x.features / parts;
      if (random_.chance(0.85)) {
        Value const part = slice(x, k * length, length);
        if (random_.chance(0.5)) layer_norm(part);
      }
    }
  }
  void over_tokens() {
    Value const x = any();
    double const kind = random_.unit();
    if (kind < 0.45) {
      for (Index const ratio : {random_.between(2, 3), Index{2}, Index{3}}) {
        if (x.tokens % ratio == 0 && ratio * x.features <= 2 * options_.most_features) {
          add(Operator::merge_tokens, {x}, {{Key::ratio, number(ratio)}});
          return;
        }
      }
    } else if (kind < 0.65) {
      add(Operator::permute_tokens, {x});
    } else if (options_.coincidences || x.tokens > 1) {
      add(kind < 0.85 ? Operator::mean_tokens : Operator::max_tokens, {x});
    }
  }
  void attention() {
    Value const q = any();
    auto const k =
        find([&](Value const& v) { return v.features == q.features && (options_.coincidences || v.tokens > 1); });
    if (!k) return;
    auto const v = find([&](Value const& c) { return c.tokens == k->tokens; });
    attend(q, *k, *v);
  }
  Value attend(Value q, Value k, Value v) {
    std::vector<Index> heads;
    for (Index h = 1; h <= std::min(q.features, v.features); ++h) {
      if (q.features % h == 0 && v.features % h == 0) heads.push_back(h);
    }
    Index const h = random_.chance(0.4) ? 1 : random_.pick(heads);
    return add(Operator::attention, {q, k, v}, {{Key::heads, number(h)}});
  }

  // --- macros ------------------------------------------------------------------------------------------------------
  void stream() {
    Index const out = features();
    std::vector<Value> producers;
    for (Index k = random_.between(1, 3); k > 0; --k) producers.push_back(produce(out));
    std::erase_if(producers, [&](Value const& p) { return p.tokens != producers[0].tokens || p.features != out; });
    Value x = producers.empty() ? produce(out) : producers[0];
    if (producers.size() > 1) x = add(Operator::add, producers);
    if (random_.chance(0.4)) x = add_parameter(x);
    if (random_.chance(0.7)) {
      for (Index k = random_.between(1, 2); k > 0; --k) x = block(x);
    }
  }
  // x + branch(layer_norm(x)), the branch ending in a producer.
  Value block(Value x) {
    Value h = random_.chance(0.9) ? layer_norm(x) : x;
    double const kind = random_.unit();
    if (kind < 0.3) {
      h = activation(linear(h, features()));
    } else if (kind < 0.55 && (options_.coincidences || h.tokens > 1)) {
      Index const out = std::min<Index>(features(), 8);
      Value const qkv = linear(h, 3 * out);
      if (qkv.features == 3 * out) {
        Value q = slice(qkv, 0, out), k = slice(qkv, out, out), v = slice(qkv, 2 * out, out);
        if (random_.chance(0.3)) q = layer_norm(q);
        if (random_.chance(0.3)) k = layer_norm(k);
        h = attend(q, k, v);
      }
    }
    Value y = random_.chance(0.85) ? linear(h, x.features) : conv(h, x.features);
    if (y.features != x.features) return x;
    if (random_.chance(0.25)) y = scaled(y);
    if (random_.chance(0.25)) y = whole_token(y);
    bool const fits = y.tokens == x.tokens;
    return fits ? add(random_.chance(0.9) ? Operator::add : Operator::subtract, {x, y}) : x;
  }

  void move() {
    double const kind = random_.unit();
    if (kind < 0.20) {
      stream();
    } else if (kind < 0.32) {
      block(any());
    } else if (kind < 0.40) {
      produce(features());
    } else if (kind < 0.46) {
      layer_norm(any());
    } else if (kind < 0.52) {
      combine();
    } else if (kind < 0.57) {
      concat_features();
    } else if (kind < 0.60) {
      concat_tokens();
    } else if (kind < 0.65) {
      some_slice();
    } else if (kind < 0.71) {
      split();
    } else if (kind < 0.77) {
      over_tokens();
    } else if (kind < 0.80) {
      attention();
    } else if (kind < 0.84) {
      whole_token(any());
    } else if (kind < 0.88) {
      scaled(any());
    } else if (kind < 0.91) {
      activation(any());
    } else if (kind < 0.93) {
      add(Operator::center, {any()});
    } else if (kind < 0.95) {
      Value const x = any();
      norm(Operator::rms_norm, x, divisor(x.features));
    } else if (kind < 0.98) {
      add_parameter(any());
    } else {
      add(Operator::output, {any()});
    }
  }

  void finish() {
    std::vector<Value> const unread = [&] {
      std::vector<Value> result;
      for (Value const& value : values_) {
        if (is_unread(value)) result.push_back(value);
      }
      return result;
    }();
    bool has_output = false;
    for (auto const& node : graph_.nodes()) has_output = has_output || node.op == Operator::output;
    for (Value value : unread) {
      if (has_output && random_.chance(0.03)) continue;  // stays unread
      Operator const op = graph_.node(value.id).op;
      if (op != Operator::layer_norm && random_.chance(0.92)) value = layer_norm(value);
      if (random_.chance(0.2)) value = linear(value, features());
      add(Operator::output, {value});
      has_output = true;
    }
    if (!has_output) add(Operator::output, {any()});
  }

  Random random_;
  RandomGraphOptions options_;
  Graph graph_;
  std::vector<Value> values_;
  std::vector<int> reads_;  // by node
  Index width_ = 0;
  Index tokens_ = 0;
  Index next_parameter_ = 0;
  double share_ = 0;    // how often a parameter is an old one
  double plain_ = 0;    // how often a norm lacks a gamma, a beta
  double careful_ = 0;  // how often a value that nobody read yet is preferred
};

struct Sample {
  Graph graph;
  Index tokens = 0;
};

inline Sample random_graph(std::uint64_t seed, RandomGraphOptions options = {}) {
  RandomGraph builder(seed, options);
  Index const tokens = builder.tokens();
  return {std::move(builder).graph(), tokens};
}

}  // namespace fuzz
