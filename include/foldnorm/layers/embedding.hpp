// SPDX-License-Identifier: MIT
// foldnorm/layers/embedding.hpp -- a column of a table for every id.
//
//   y_j = E e_id(j),   dE e_v = sum of dy_j over all j with id(j) = v
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>

#include <span>
#include <string>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

template <real_scalar Scalar_>
struct Embedding {
  using Scalar = Scalar_;

  Matrix<Scalar> table;  // features x vocabulary

  // Zeros. Throws std::invalid_argument for a negative size.
  Embedding(Index features, Index vocabulary)
      : table(Matrix<Scalar>::Zero(checked_not_negative(features, "Embedding: features"),
                                   checked_not_negative(vocabulary, "Embedding: vocabulary"))) {}
  explicit Embedding(Matrix<Scalar> columns) : table(std::move(columns)) {}

  Index vocabulary() const { return table.cols(); }
  Index in_features() const { return 1; }
  Index out_features() const { return table.rows(); }

  // y: features x n. Throws std::invalid_argument for an id outside of [0, vocabulary), before anything is written.
  void forward(std::span<Index const> ids, MatrixRef<Scalar> y) const {
    check(ids, y.rows(), y.cols(), "Embedding::forward", "features of y", "columns of y, ids");
    for (Index j = 0; j < y.cols(); ++j) y.col(j) = table.col(ids[static_cast<std::size_t>(j)]);
  }

  // Adds to the gradient's table; dy: features x n.
  void backward(ConstMatrixRef<Scalar> const& dy, std::span<Index const> ids, Embedding& gradient) const {
    check(ids, dy.rows(), dy.cols(), "Embedding::backward", "features of dy", "columns of dy, ids");
    check_same_shape(table, gradient.table, "Embedding::backward: table, gradient");
    for (Index j = 0; j < dy.cols(); ++j) gradient.table.col(ids[static_cast<std::size_t>(j)]) += dy.col(j);
  }

  // Calls use(name, matrix) for what training changes.
  template <class Use>
  void for_each_parameter(Use const& use) {
    use("table", table);
  }
  template <class Use>
  void for_each_parameter(Use const& use) const {
    use("table", table);
  }

 private:
  void check(std::span<Index const> ids, Index features, Index columns, char const* function, char const* rows_name,
             char const* columns_name) const {
    check_size(features, out_features(), {function, rows_name});
    check_size(columns, static_cast<Index>(ids.size()), {function, columns_name});
    for (Index const id : ids) {
      if (id < 0 || id >= vocabulary()) {
        std::string const fault =
            " hold " + std::to_string(id) + ", the table has " + std::to_string(vocabulary()) + " columns";
        detail::throw_invalid({function, "ids"}, fault.c_str());
      }
    }
  }
};

}  // namespace foldnorm::inline FOLDNORM_ABI
