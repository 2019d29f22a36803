// SPDX-License-Identifier: MIT
// foldnorm/layers/sequential.hpp -- a network that is a chain of layers: run it, print it, differentiate it.
//
//   Sequential<double> network;
//   network.append(Linear<double>(1, 16));
//   network.append(ParallelLayerNorm<double>(16, 8));
//   network.append(Linear<double>(16, 1));
//   Matrix<double> y = network.forward(x);
//
// Gradients of parameters are a network of the same layers, whose weights are the gradients: gradient = zeros_like(
// network). graph/describe.hpp turns a chain into a layer graph.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/activation.hpp>
#include <foldnorm/layers/centered.hpp>
#include <foldnorm/layers/layer_norm.hpp>
#include <foldnorm/layers/linear.hpp>
#include <foldnorm/layers/parallel_layer_norm.hpp>
#include <foldnorm/layers/pq_norm.hpp>
#include <foldnorm/layers/rms_norm.hpp>

#include <cstddef>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar>
using Layer = std::variant<Linear<Scalar>, CenteredLinear<Scalar>, LayerNorm<Scalar>, RMSNorm<Scalar>, PqNorm<Scalar>,
                           Activation<Scalar>>;

template <class L>
concept keeps_statistics = requires {
  typename L::Statistics;
};

template <real_scalar Scalar>
Index in_features(Layer<Scalar> const& layer) {
  return std::visit([](auto const& l) { return l.in_features(); }, layer);
}
template <real_scalar Scalar>
Index out_features(Layer<Scalar> const& layer) {
  return std::visit([](auto const& l) { return l.out_features(); }, layer);
}

template <real_scalar Scalar_>
class Sequential {
 public:
  using Scalar = Scalar_;

  // What a forward leaves for the backward: every layer's output, and the norms' statistics.
  struct Activations {
    struct Step {
      Matrix<Scalar> output;
      NormStatistics<Scalar> statistics;
    };
    std::vector<Step> steps;
  };

  // Throws shape_error if the layer does not read what the last one writes.
  void append(Layer<Scalar> layer) {
    if (!layers_.empty()) {
      check_size(foldnorm::in_features(layer), out_features(), "Sequential::append: features that the layer reads");
    }
    layers_.push_back(std::move(layer));
  }

  std::vector<Layer<Scalar>> const& layers() const { return layers_; }
  Layer<Scalar>& layer(std::size_t i) { return layers_.at(i); }
  // Of the chain; 0 of an empty one, which computes y = x.
  Index in_features() const { return layers_.empty() ? 0 : foldnorm::in_features(layers_.front()); }
  Index out_features() const { return layers_.empty() ? 0 : foldnorm::out_features(layers_.back()); }

  // x: in_features x n. Returns out_features x n.
  Matrix<Scalar> forward(ConstMatrixRef<Scalar> const& x) const {
    Matrix<Scalar> y = x, next;
    for (Layer<Scalar> const& any : layers_) {
      std::visit(
          [&](auto const& layer) {
            next.resize(layer.out_features(), x.cols());
            layer.forward(y, next);
          },
          any);
      y.swap(next);
    }
    return y;
  }

  // The same, and keeps every layer's output; the result lives in the activations. Precondition: some layer.
  Matrix<Scalar> const& forward(ConstMatrixRef<Scalar> const& x, Activations& activations) const {
    check_not_empty("Sequential::forward");
    activations.steps.resize(layers_.size());
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      Matrix<Scalar>& output = activations.steps[i].output;
      NormStatistics<Scalar>& statistics = activations.steps[i].statistics;
      std::visit(
          [&](auto const& layer) {
            output.resize(layer.out_features(), x.cols());
            if constexpr (keeps_statistics<std::remove_cvref_t<decltype(layer)>>) {
              layer.forward(input_of(i, x, activations), output, statistics);
            } else {
              layer.forward(input_of(i, x, activations), output);
            }
          },
          layers_[i]);
    }
    return activations.steps.back().output;
  }

  // From dy (out_features x n) to dx (in_features x n), and adds to the parameters of `gradient`, a network of the same
  // layers. x and activations are the last forward's.
  void backward(ConstMatrixRef<Scalar> const& dy, ConstMatrixRef<Scalar> const& x, Activations const& activations,
                MatrixRef<Scalar> dx, Sequential& gradient) const {
    check_not_empty("Sequential::backward");
    check_size(static_cast<Index>(activations.steps.size()), size(), "Sequential::backward: layers of the activations");
    check_size(gradient.size(), size(), "Sequential::backward: layers of the gradient");
    check_same_shape(dy, activations.steps.back().output, "Sequential::backward: dy, output");
    check_size(x.rows(), in_features(), "Sequential::backward: features of x");
    check_same_shape(x, dx, "Sequential::backward: x, dx");
    check_layers(x.cols(), activations, gradient);
    Matrix<Scalar> above = dy, below;
    for (std::size_t i = layers_.size(); i-- > 0;) {
      std::visit(
          [&](auto const& layer) {
            using L = std::remove_cvref_t<decltype(layer)>;
            auto& its_gradient = std::get<L>(gradient.layers_[i]);
            below.resize(layer.in_features(), x.cols());
            ConstMatrixRef<Scalar> const input(input_of(i, x, activations));
            if constexpr (keeps_statistics<L>) {
              layer.backward(above, input, activations.steps[i].statistics, below, its_gradient);
            } else {
              layer.backward(above, input, below, its_gradient);
            }
          },
          layers_[i]);
      above.swap(below);
    }
    dx = above;
  }

  // Calls use(name, matrix or vector) for everything that training changes, in a fixed order.
  template <class Use>
  void for_each_parameter(Use const& use) {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      std::visit(
          [&](auto& layer) {
            layer.for_each_parameter([&](char const* name, auto& values) { use(layer_name(i) + "." + name, values); });
          },
          layers_[i]);
    }
  }

  // "linear1", "layer_norm2": how printed lines, parameters and graphs call a layer.
  std::string layer_name(std::size_t i) const { return layer_word(layers_.at(i)) + std::to_string(i + 1); }

 private:
  Index size() const { return static_cast<Index>(layers_.size()); }
  void check_not_empty(char const* function) const {
    if (layers_.empty()) detail::throw_invalid({function, "the chain"}, " has no layers");
  }
  // What a layer would refuse when those behind it had already added to the gradient.
  void check_layers(Index columns, Activations const& activations, Sequential const& gradient) const {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      Matrix<Scalar> const& output = activations.steps[i].output;
      check_size(output.rows(), foldnorm::out_features(layers_[i]), "Sequential::backward: features of an activation");
      check_size(output.cols(), columns, "Sequential::backward: columns of an activation");
      std::visit(
          [&](auto const& layer) {
            if constexpr (keeps_statistics<std::remove_cvref_t<decltype(layer)>>) {
              layer.check_statistics(activations.steps[i].statistics, columns);
            }
          },
          layers_[i]);
      if (gradient.layers_[i].index() != layers_[i].index() || shapes(gradient.layers_[i]) != shapes(layers_[i])) {
        detail::throw_invalid("Sequential::backward: gradient", " has other layers");
      }
    }
  }
  // Of all parameters.
  static std::vector<std::pair<Index, Index>> shapes(Layer<Scalar> const& any) {
    std::vector<std::pair<Index, Index>> result;
    std::visit(
        [&](auto const& layer) {
          layer.for_each_parameter(
              [&](char const*, auto const& values) { result.emplace_back(values.rows(), values.cols()); });
        },
        any);
    return result;
  }
  static ConstMatrixRef<Scalar> input_of(std::size_t i, ConstMatrixRef<Scalar> const& x,
                                         Activations const& activations) {
    if (i == 0) return x;
    return activations.steps[i - 1].output;
  }
  static std::string layer_word(Layer<Scalar> const& any) {
    constexpr char const* words[] = {"linear", "centered_linear", "layer_norm", "rms_norm", "pq_norm"};
    if (auto const* const activation = std::get_if<Activation<Scalar>>(&any)) {
      return std::string(to_string(activation->kind()));
    }
    return words[any.index()];
  }

  std::vector<Layer<Scalar>> layers_;
};

// The same layers with every parameter 0: where a backward adds up gradients.
template <real_scalar Scalar>
Sequential<Scalar> zeros_like(Sequential<Scalar> network) {
  network.for_each_parameter([](std::string const&, auto& values) { values.setZero(); });
  return network;
}

// One line a layer: "layer_norm2 16 in groups of 8, eps 1e-05".
template <real_scalar Scalar>
std::ostream& operator<<(std::ostream& out, Sequential<Scalar> const& network) {
  for (std::size_t i = 0; i < network.layers().size(); ++i) {
    out << network.layer_name(i) << ' ';
    std::visit(
        [&](auto const& layer) {
          using L = std::remove_cvref_t<decltype(layer)>;
          out << layer.out_features();
          if constexpr (std::same_as<L, Linear<Scalar>> || std::same_as<L, CenteredLinear<Scalar>>) {
            out << " from " << layer.in_features();
          } else if constexpr (!std::same_as<L, Activation<Scalar>>) {
            if (layer.norm_size() != layer.in_features()) out << " in groups of " << layer.norm_size();
            out << ", eps " << layer.options().eps;
          }
        },
        network.layers()[i]);
    out << '\n';
  }
  return out;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
