// SPDX-License-Identifier: MIT
#include "problem.hpp"

#include <Eigen/Core>

#include <limits>
#include <new>
#include <random>

namespace bench {

bool is_rms(Operation operation) {
  return operation == Operation::rms_norm || operation == Operation::rms_norm_backward ||
         operation == Operation::add_rms_norm;
}
bool is_backward(Operation operation) {
  return operation == Operation::layer_norm_backward || operation == Operation::rms_norm_backward;
}
bool is_add(Operation operation) {
  return operation == Operation::add_layer_norm || operation == Operation::add_rms_norm;
}
Index size_of(Scalar scalar) { return scalar == Scalar::f32 ? 4 : 2; }

std::string Case::group() const {
  constexpr char const* operations[] = {"layer_norm/forward",         "rms_norm/forward",       "layer_norm/backward",
                                        "rms_norm/backward",          "add_layer_norm/forward", "add_rms_norm/forward",
                                        "parallel_layer_norm/forward"};
  constexpr char const* scalars[] = {"f32", "f16", "bf16"};
  return std::string(operations[static_cast<int>(operation)]) + "/" + scalars[static_cast<int>(scalar)];
}

std::string Case::path() const {
  return group() + "/" + std::to_string(shape.features) + "x" + std::to_string(shape.columns);
}

// Forward: read x, write y. Backward: read x and dy, write dx. Residual: read x and r, write s and y.
double Case::copies() const { return is_backward(operation) ? 1.5 : is_add(operation) ? 2 : 1; }

Index Case::bytes() const {
  return static_cast<Index>(2 * copies()) * shape.features * shape.columns * size_of(scalar);
}

Buffer::Buffer(Index count, Scalar scalar) : count_(count), scalar_(scalar) {
  constexpr Index line = 64;
  Index const size = (count * size_of(scalar) + line - 1) / line * line;
  bytes_.reset(std::aligned_alloc(line, static_cast<std::size_t>(size)));
  if (!bytes_) throw std::bad_alloc();
}

double Buffer::get(Index i) const {
  switch (scalar_) {
    case Scalar::f16:
      return static_cast<double>(static_cast<float>(as<Eigen::half>()[i]));
    case Scalar::bf16:
      return static_cast<double>(static_cast<float>(as<Eigen::bfloat16>()[i]));
    default:
      return static_cast<double>(f32()[i]);
  }
}

void Buffer::set(Index i, double value) {
  float const rounded = static_cast<float>(value);
  switch (scalar_) {
    case Scalar::f16:
      as<Eigen::half>()[i] = Eigen::half(rounded);
      break;
    case Scalar::bf16:
      as<Eigen::bfloat16>()[i] = Eigen::bfloat16(rounded);
      break;
    default:
      f32()[i] = rounded;
  }
}

namespace {

// A block of random numbers, repeated: drawing 64 million would take longer than timing them. Its length is prime, so
// that no two columns are equal.
void fill(Buffer& buffer, std::mt19937& generator) {
  constexpr Index period = 65537;
  std::normal_distribution<double> normal;
  Index const drawn = std::min(period, buffer.count());
  for (Index i = 0; i < drawn; ++i) buffer.set(i, normal(generator));
  for (Index i = drawn; i < buffer.count(); ++i) buffer.set(i, buffer.get(i - period));
}

void poison(Buffer& buffer) {
  for (Index i = 0; i < buffer.count(); ++i) buffer.set(i, std::numeric_limits<double>::quiet_NaN());
}

}  // namespace

Problem::Problem(Case const& what_) : what(what_), n(what.shape.features), m(what.shape.columns) {
  Scalar const scalar = what.scalar;
  bool const backward = is_backward(what.operation), add = is_add(what.operation);
  std::mt19937 generator(1);
  auto allocate = [&](Buffer& buffer, Index count) { buffer = Buffer(count, scalar); };
  auto draw = [&](Buffer& buffer, Index count) { allocate(buffer, count), fill(buffer, generator); };
  draw(x, n * m);
  draw(gamma, n);
  draw(beta, n);
  if (add) draw(r, n * m), allocate(s, n * m);
  if (backward) {
    draw(dy, n * m);
    allocate(dx, n * m), allocate(dgamma, n), allocate(dbeta, n);
  } else {
    allocate(y, n * m);
  }
  bench::poison(*this);
}

void poison(Problem& problem) {
  for (Buffer* buffer : {&problem.s, &problem.y, &problem.dx, &problem.dgamma, &problem.dbeta}) poison(*buffer);
}

}  // namespace bench
