// SPDX-License-Identifier: MIT
// training/attention.hpp -- multi-head self-attention within each sequence of a batch, forward and backward.
//
// Per sequence and head, with Q, K, V of d features x T tokens, c = 1 / sqrt(d) and softmax over each column:
//   P = softmax(c K^T Q)   (keys x queries),   Y = V P                                            forward
//   dV = dY P^T,   dP = V^T dY,   dS = P .* (dP - 1 colsum(P .* dP)),   dQ = c K dS,   dK = c Q dS^T   backward
// Heads are contiguous blocks of features, sequences contiguous blocks of T columns.
#pragma once

#include <foldnorm/core/types.hpp>

#include <cmath>

namespace foldnorm::training {

struct Attention {
  Index heads = 1;   // divides the features
  Index tokens = 1;  // T; divides the columns

  // qkv: 3m x n, queries above keys above values; y: m x n (resized). Keeps P of all heads: T x (heads n), resized.
  template <real_scalar Scalar>
  void forward(Matrix<Scalar> const& qkv, Matrix<Scalar>& y, Matrix<Scalar>& probabilities) const;

  // dy: m x n; probabilities from forward; dqkv: 3m x n (resized), which must not share memory with dy or qkv.
  template <real_scalar Scalar>
  void backward(Matrix<Scalar> const& dy, Matrix<Scalar> const& qkv, Matrix<Scalar> const& probabilities,
                Matrix<Scalar>& dqkv) const;

 private:
  // Where one head of one sequence lies.
  struct Part {
    Index feature, features;  // first feature of the head, and how many
    Index column;             // first token of the sequence
    Index probabilities;      // first column of P
  };

  template <class Scalar>
  static Scalar scale(Part const& part) {
    return 1 / std::sqrt(static_cast<Scalar>(part.features));
  }

  template <class Scalar, class Visit>
  void for_each_head(Matrix<Scalar> const& qkv, Visit const& visit) const {
    Index const features = qkv.rows() / 3;
    Index const width = features / heads;
    for (Index column = 0; column < qkv.cols(); column += tokens) {
      for (Index head = 0; head < heads; ++head) {
        auto const block = [&](Index first) { return qkv.block(first + head * width, column, width, tokens); };
        visit(Part{head * width, width, column, heads * column + head * tokens}, block(0), block(features),
              block(2 * features));
      }
    }
  }

  // Each column by its own maximum, so that exp cannot overflow.
  template <class Scalar>
  static void softmax_columns(Matrix<Scalar>& scores) {
    for (Index j = 0; j < scores.cols(); ++j) scores.col(j).array() -= scores.col(j).maxCoeff();
    scores = scores.array().exp();
    for (Index j = 0; j < scores.cols(); ++j) scores.col(j) /= scores.col(j).sum();
  }
};

// Outside of the struct, and so not inline: compiled once, in instances.cpp.
template <real_scalar Scalar>
void Attention::forward(Matrix<Scalar> const& qkv, Matrix<Scalar>& y, Matrix<Scalar>& probabilities) const {
  Index const features = qkv.rows() / 3;
  y.resize(features, qkv.cols());
  probabilities.resize(tokens, heads * qkv.cols());
  for_each_head(qkv, [&](Part const& part, auto const& q, auto const& k, auto const&) {
    probabilities.middleCols(part.probabilities, tokens).noalias() = scale<Scalar>(part) * k.transpose() * q;
  });
  softmax_columns(probabilities);
  for_each_head(qkv, [&](Part const& part, auto const&, auto const&, auto const& v) {
    y.block(part.feature, part.column, part.features, tokens).noalias() =
        v * probabilities.middleCols(part.probabilities, tokens);
  });
}

template <real_scalar Scalar>
void Attention::backward(Matrix<Scalar> const& dy, Matrix<Scalar> const& qkv, Matrix<Scalar> const& probabilities,
                         Matrix<Scalar>& dqkv) const {
  Index const features = qkv.rows() / 3;
  dqkv.resize(qkv.rows(), qkv.cols());
  Matrix<Scalar> dscores(tokens, tokens);
  for_each_head(qkv, [&](Part const& part, auto const& q, auto const& k, auto const& v) {
    auto const block = [&](Index first) {
      return dqkv.block(first + part.feature, part.column, part.features, tokens);
    };
    auto const p = probabilities.middleCols(part.probabilities, tokens);
    auto const dy_part = dy.block(part.feature, part.column, part.features, tokens);
    block(2 * features).noalias() = dy_part * p.transpose();
    dscores.noalias() = v.transpose() * dy_part;
    for (Index j = 0; j < tokens; ++j) {
      Scalar const mean = p.col(j).dot(dscores.col(j));
      dscores.col(j).array() = scale<Scalar>(part) * p.col(j).array() * (dscores.col(j).array() - mean);
    }
    block(0).noalias() = k * dscores;
    block(features).noalias() = q * dscores.transpose();
  });
}

extern template void Attention::forward(Matrix<float> const&, Matrix<float>&, Matrix<float>&) const;
extern template void Attention::backward(Matrix<float> const&, Matrix<float> const&, Matrix<float> const&,
                                         Matrix<float>&) const;
extern template void Attention::forward(Matrix<double> const&, Matrix<double>&, Matrix<double>&) const;
extern template void Attention::backward(Matrix<double> const&, Matrix<double> const&, Matrix<double> const&,
                                         Matrix<double>&) const;

}  // namespace foldnorm::training
