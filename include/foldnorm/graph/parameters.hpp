// SPDX-License-Identifier: MIT
// foldnorm/graph/parameters.hpp -- the numbers behind a graph's parameter names.
//
// Each parameter is a matrix in its own storage type, float, double, half or bfloat16: weights out x in, tables
// features x vocabulary, vectors m x 1, per-token parameters features x tokens. A fold computes in double and rounds
// once to the type that it found.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/rounding.hpp>
#include <foldnorm/core/types.hpp>

#include <cmath>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace foldnorm::inline FOLDNORM_ABI {

using ParameterValue = std::variant<Matrix<float>, Matrix<double>, Matrix<Eigen::half>, Matrix<Eigen::bfloat16>>;

namespace detail {

template <class Values>
auto& parameter_named(Values& values, std::string_view name) {
  auto const position = values.find(name);
  if (position == values.end())
    detail::raise<std::invalid_argument>("parameters: there is no '" + std::string(name) + "'");
  return position->second;
}

template <storage_scalar Scalar, class Value>
auto& parameter_of_type(Value& value, std::string_view name) {
  auto* const matrix = std::get_if<Matrix<Scalar>>(&value);
  if (!matrix)
    detail::raise<std::invalid_argument>("parameters: '" + std::string(name) + "' is of another scalar type");
  return *matrix;
}

// Throws std::invalid_argument if a value is not finite in Scalar. `name` is the message's.
template <storage_scalar Scalar>
Matrix<Scalar> rounded_once(Matrix<double> const& values, std::string_view name) {
  Matrix<Scalar> rounded(values.rows(), values.cols());
  for (Index i = 0; i < values.size(); ++i) {
    rounded.data()[i] = round_once<Scalar>(values.data()[i]);
    if (std::isfinite(static_cast<double>(rounded.data()[i]))) continue;
    raise<std::invalid_argument>("parameters: new values of '" + std::string(name) + "' are not finite in its type");
  }
  return rounded;
}

}  // namespace detail

class Parameters {
 public:
  // Adds or replaces; the matrix is copied or moved in. An expression is evaluated.
  template <stored_expression M>
  void set(std::string name, Eigen::MatrixBase<M> const& matrix) {
    values_.insert_or_assign(std::move(name), Matrix<typename M::Scalar>(matrix));
  }
  void set(std::string name, ParameterValue value) { values_.insert_or_assign(std::move(name), std::move(value)); }
  // Adds or replaces, in the type that `like` has, rounded once. Throws as assign does.
  void set_like(std::string name, ParameterValue const& like, Matrix<double> const& values) {
    ParameterValue value =
        std::visit([&]<class Scalar>(
                       Matrix<Scalar> const&) -> ParameterValue { return detail::rounded_once<Scalar>(values, name); },
                   like);
    set(std::move(name), std::move(value));
  }
  void erase(std::string_view name) {
    if (auto const found = values_.find(name); found != values_.end()) values_.erase(found);
  }

  bool contains(std::string_view name) const { return values_.find(name) != values_.end(); }

  // The value itself. Throws std::invalid_argument if there is no such parameter.
  ParameterValue const& at(std::string_view name) const { return detail::parameter_named(values_, name); }
  ParameterValue& at(std::string_view name) { return detail::parameter_named(values_, name); }

  // The matrix, where the type is known. Throws std::invalid_argument if it is of another type, too.
  template <storage_scalar Scalar>
  Matrix<Scalar> const& get(std::string_view name) const {
    return detail::parameter_of_type<Scalar>(at(name), name);
  }
  template <storage_scalar Scalar>
  Matrix<Scalar>& get(std::string_view name) {
    return detail::parameter_of_type<Scalar>(at(name), name);
  }

  // A copy in Scalar, whatever the storage type. (By hand, here and below: Eigen's casts from and to four types would
  // take every file that folds a second longer to compile.)
  template <real_scalar Scalar>
  Matrix<Scalar> as(std::string_view name) const {
    return std::visit(
        [](auto const& matrix) {
          Matrix<Scalar> copy(matrix.rows(), matrix.cols());
          for (Index i = 0; i < copy.size(); ++i) copy.data()[i] = static_cast<Scalar>(matrix.data()[i]);
          return copy;
        },
        at(name));
  }

  // New values, rounded once to the type that the parameter has. Throws std::invalid_argument, and nothing is written,
  // if there is no such parameter, it has another size, or a value is not finite in its type.
  void assign(std::string_view name, Matrix<double> const& values) {
    std::visit(
        [&]<class Scalar>(Matrix<Scalar>& matrix) {
          check_same_shape(values, matrix, "parameters: values to assign, parameter");
          matrix = detail::rounded_once<Scalar>(values, name);
        },
        at(name));
  }

  std::size_t size() const { return values_.size(); }
  auto begin() const { return values_.begin(); }  // pairs of name and value, by name
  auto end() const { return values_.end(); }

 private:
  std::map<std::string, ParameterValue, std::less<>> values_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
