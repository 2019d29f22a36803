// SPDX-License-Identifier: MIT
// bench/problem.hpp -- what is timed: an operation, a scalar and a shape, with the buffers of one call.
//
// Buffers are raw memory, so that a peer can be compiled with its own headers and flags. Features x columns,
// column-major; to peers that speak of rows these are the same bytes as row-major [columns, features].
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>

namespace bench {

using Index = std::ptrdiff_t;

inline constexpr float eps = 1e-5f;
inline constexpr float residual_scale = 1;  // alpha of s = x + alpha r; what every peer can do
inline constexpr Index group_size = 8;      // features that one statistic of parallel_layer_norm covers

// RMS norms have gamma alone; LayerNorms have gamma and beta.
enum class Operation {
  layer_norm,           // x -> y
  rms_norm,             // x -> y
  layer_norm_backward,  // x, dy -> dx, dgamma, dbeta
  rms_norm_backward,    // x, dy -> dx, dgamma
  add_layer_norm,       // x, r -> s = x + residual_scale r, y = layer_norm(s)
  add_rms_norm,         // x, r -> s, y = rms_norm(s)
  parallel_layer_norm,  // x -> y, statistics for each group of group_size features
};

enum class Scalar { f32, f16, bf16 };

struct Shape {
  Index features, columns;
};

bool is_rms(Operation operation);
bool is_backward(Operation operation);
bool is_add(Operation operation);
Index size_of(Scalar scalar);

struct Case {
  Operation operation;
  Scalar scalar;
  Shape shape;

  std::string group() const;  // "layer_norm/forward/f32"
  std::string path() const;   // "layer_norm/forward/f32/768x512"
  Index bytes() const;        // read and written by one call, columns only
  double copies() const;      // the same in units of a memcpy of x
};

// 64-byte aligned memory of `count` scalars.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Index count, Scalar scalar);
  template <class T>
  T* as() const {
    return static_cast<T*>(bytes_.get());
  }
  float* f32() const { return as<float>(); }
  Index count() const { return count_; }
  Scalar scalar() const { return scalar_; }
  double get(Index i) const;
  void set(Index i, double value);

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> bytes_;
  Index count_ = 0;
  Scalar scalar_ = Scalar::f32;
};

// One call's arguments. Only the buffers that the operation uses are allocated; inputs hold normal random numbers.
struct Problem {
  explicit Problem(Case const& what);

  Case what;
  Index n, m;                      // features, columns
  Buffer x, r, dy, gamma, beta;    // read
  Buffer s, y, dx, dgamma, dbeta;  // written
};

// Runs nothing: the largest error of what a call left in the outputs, against double, in units of what is tolerable for
// this case (so <= 1 is right). NaN counts as infinite.
double error(Problem const& problem);

// Overwrites the outputs with NaN, so that a call that writes nothing is found out.
void poison(Problem& problem);

}  // namespace bench
