// SPDX-License-Identifier: MIT
// training/attention.hpp -- multi-head self-attention within each sequence of a batch, forward and backward.
//
// Per sequence and head, with Q, K, V of d features x T tokens, c = 1 / sqrt(d) and softmax over each column:
//   P = softmax(c K^T Q)   (keys x queries),   Y = V P                                            forward
//   dV = dY P^T,   dP = V^T dY,   dS = P .* (dP - 1 colsum(P .* dP)),   dQ = c K dS,   dK = c Q dS^T   backward
// Heads are contiguous blocks of features, sequences contiguous blocks of T columns. A causal attention has P = 0 where
// the key comes after the query.
#pragma once

#include <foldnorm/core/types.hpp>

#include <cmath>
#include <limits>

namespace foldnorm::training {

struct Attention {
  Index heads = 1;   // divides the features
  Index tokens = 1;  // T; divides the columns
  bool causal = false;

  template <real_scalar Scalar>
  struct Operands {
    ConstMatrixRef<Scalar> queries, keys, values;  // m x n each
  };
  template <real_scalar Scalar>
  struct Gradients {
    MatrixRef<Scalar> queries, keys, values;
  };

  // y: m x n (resized). Keeps P of all heads: T x (heads n), resized.
  template <real_scalar Scalar>
  void forward(Operands<Scalar> const& x, Matrix<Scalar>& y, Matrix<Scalar>& probabilities) const;

  // Writes dx, which must not share memory with dy or x. dy: m x n; probabilities from forward.
  template <real_scalar Scalar>
  void backward(Matrix<Scalar> const& dy, Operands<Scalar> const& x, Matrix<Scalar> const& probabilities,
                Gradients<Scalar> dx) const;

  // The three parts of a matrix with queries above keys above values.
  template <real_scalar Scalar>
  static Operands<Scalar> operands(Matrix<Scalar> const& qkv) {
    Index const m = qkv.rows() / 3;
    return {qkv.topRows(m), qkv.middleRows(m, m), qkv.bottomRows(m)};
  }
  template <real_scalar Scalar>
  static Gradients<Scalar> gradients(Matrix<Scalar>& dqkv) {
    Index const m = dqkv.rows() / 3;
    return {dqkv.topRows(m), dqkv.middleRows(m, m), dqkv.bottomRows(m)};
  }

 private:
  // Where one head of one sequence lies.
  struct Part {
    Index feature, features;  // first feature of the head, and how many
    Index column, tokens;     // first token of the sequence, and how many
    Index probabilities;      // first column of P

    template <class M>
    auto of(M& matrix) const {
      return matrix.block(feature, column, features, tokens);
    }
  };

  template <class Scalar>
  static Scalar scale(Part const& part) {
    return 1 / std::sqrt(static_cast<Scalar>(part.features));
  }

  template <class Visit>
  void for_each_head(Index features, Index columns, Visit const& visit) const {
    Index const width = features / heads;
    for (Index column = 0; column < columns; column += tokens) {
      for (Index head = 0; head < heads; ++head) {
        visit(Part{head * width, width, column, tokens, heads * column + head * tokens});
      }
    }
  }

  // Each column by its own maximum, so that exp cannot overflow.
  template <class Scalar>
  void softmax_columns(Matrix<Scalar>& scores) const {
    if (causal) {  // hidden keys: exp gives exact zeros
      for (Index j = 0; j < scores.cols(); ++j) {
        scores.col(j).tail(tokens - 1 - j % tokens).setConstant(-std::numeric_limits<Scalar>::infinity());
      }
    }
    for (Index j = 0; j < scores.cols(); ++j) scores.col(j).array() -= scores.col(j).maxCoeff();
    scores = scores.array().exp();
    for (Index j = 0; j < scores.cols(); ++j) scores.col(j) /= scores.col(j).sum();
  }
};

// Outside of the struct, and so not inline: compiled once, in instances.cpp.
template <real_scalar Scalar>
void Attention::forward(Operands<Scalar> const& x, Matrix<Scalar>& y, Matrix<Scalar>& probabilities) const {
  Index const features = x.values.rows(), columns = x.values.cols();
  y.resize(features, columns);
  probabilities.resize(tokens, heads * columns);
  for_each_head(features, columns, [&](Part const& part) {
    probabilities.middleCols(part.probabilities, tokens).noalias() =
        scale<Scalar>(part) * part.of(x.keys).transpose() * part.of(x.queries);
  });
  softmax_columns(probabilities);
  for_each_head(features, columns, [&](Part const& part) {
    part.of(y).noalias() = part.of(x.values) * probabilities.middleCols(part.probabilities, tokens);
  });
}

template <real_scalar Scalar>
void Attention::backward(Matrix<Scalar> const& dy, Operands<Scalar> const& x, Matrix<Scalar> const& probabilities,
                         Gradients<Scalar> dx) const {
  Matrix<Scalar> dscores(tokens, tokens);
  for_each_head(dy.rows(), dy.cols(), [&](Part const& part) {
    auto const p = probabilities.middleCols(part.probabilities, tokens);
    part.of(dx.values).noalias() = part.of(dy) * p.transpose();
    dscores.noalias() = part.of(x.values).transpose() * part.of(dy);
    for (Index j = 0; j < tokens; ++j) {
      Scalar const mean = p.col(j).dot(dscores.col(j));
      dscores.col(j).array() = scale<Scalar>(part) * p.col(j).array() * (dscores.col(j).array() - mean);
    }
    part.of(dx.queries).noalias() = part.of(x.keys) * dscores;
    part.of(dx.keys).noalias() = part.of(x.queries) * dscores.transpose();
  });
}

extern template void Attention::forward(Attention::Operands<float> const&, Matrix<float>&, Matrix<float>&) const;
extern template void Attention::backward(Matrix<float> const&, Attention::Operands<float> const&, Matrix<float> const&,
                                         Attention::Gradients<float>) const;
extern template void Attention::forward(Attention::Operands<double> const&, Matrix<double>&, Matrix<double>&) const;
extern template void Attention::backward(Matrix<double> const&, Attention::Operands<double> const&,
                                         Matrix<double> const&, Attention::Gradients<double>) const;

}  // namespace foldnorm::training
