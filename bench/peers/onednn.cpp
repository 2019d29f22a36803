// SPDX-License-Identifier: MIT
// bench/peers/onednn.cpp -- oneDNN's layer normalization primitives, version 2 or 3. It has no RMS norm.
#include "../implementation.hpp"

#include <omp.h>
#include <dnnl.hpp>

#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bench {
namespace {

using dnnl::memory;
using Forward = dnnl::layer_normalization_forward;
using Backward = dnnl::layer_normalization_backward;
using Arguments = std::unordered_map<int, memory>;

auto const flags = dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;

// Buffers of a problem as oneDNN sees them: row-major [columns, features].
struct Context {
  explicit Context(Problem& problem)
      : p(problem), type(p.what.scalar == Scalar::bf16 ? memory::data_type::bf16 : memory::data_type::f32) {}

  memory::desc matrix_desc() const { return {{p.m, p.n}, type, memory::format_tag::ab}; }
  memory matrix(Buffer const& buffer) { return memory(matrix_desc(), engine, buffer.as<void>()); }
  memory vector(Buffer const& buffer) {
    return memory({{p.n}, memory::data_type::f32, memory::format_tag::a}, engine, buffer.as<void>());
  }

  Forward::primitive_desc forward(dnnl::prop_kind kind) const {
#if DNNL_VERSION_MAJOR >= 3
    return {engine, kind, matrix_desc(), matrix_desc(), eps, flags};
#else
    return {{kind, matrix_desc(), eps, flags}, engine};
#endif
  }
  Backward::primitive_desc backward(Forward::primitive_desc const& hint) const {
#if DNNL_VERSION_MAJOR >= 3
    return {engine, dnnl::prop_kind::backward, matrix_desc(), matrix_desc(), matrix_desc(), eps, flags, hint};
#else
    return {{dnnl::prop_kind::backward, matrix_desc(), matrix_desc(), eps, flags}, engine, hint};
#endif
  }

  Problem& p;
  memory::data_type type;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

Run call(std::shared_ptr<Context> context, dnnl::primitive primitive, Arguments arguments) {
  return [=] {
    primitive.execute(context->stream, arguments);
    context->stream.wait();
  };
}

Run forward(Problem& p, Buffer const& x) {
  auto context = std::make_shared<Context>(p);
  return call(context, Forward(context->forward(dnnl::prop_kind::forward_inference)),
              {{DNNL_ARG_SRC, context->matrix(x)},
               {DNNL_ARG_DST, context->matrix(p.y)},
               {DNNL_ARG_SCALE, context->vector(p.gamma)},
               {DNNL_ARG_SHIFT, context->vector(p.beta)}});
}

// s = x + residual_scale r, then the norm of s: oneDNN has no primitive for both.
Run add_forward(Problem& p) {
  auto context = std::make_shared<Context>(p);
  std::vector<memory::desc> const sources(2, context->matrix_desc());
#if DNNL_VERSION_MAJOR >= 3
  dnnl::sum::primitive_desc const description(context->engine, {1.0f, residual_scale}, sources);
#else
  dnnl::sum::primitive_desc const description({1.0f, residual_scale}, sources, context->engine);
#endif
  auto const add = call(context, dnnl::sum(description),
                        {{DNNL_ARG_MULTIPLE_SRC, context->matrix(p.x)},
                         {DNNL_ARG_MULTIPLE_SRC + 1, context->matrix(p.r)},
                         {DNNL_ARG_DST, context->matrix(p.s)}});
  auto const norm = forward(p, p.s);
  return [=] {
    add();
    norm();
  };
}

Run backward(Problem& p) {
  auto context = std::make_shared<Context>(p);
  auto const description = context->forward(dnnl::prop_kind::forward_training);
  Arguments arguments{{DNNL_ARG_SRC, context->matrix(p.x)},
                      {DNNL_ARG_DST, context->matrix(p.dx)},  // of the forward; dx overwrites it
                      {DNNL_ARG_MEAN, memory(description.mean_desc(), context->engine)},
                      {DNNL_ARG_VARIANCE, memory(description.variance_desc(), context->engine)},
                      {DNNL_ARG_SCALE, context->vector(p.gamma)},
                      {DNNL_ARG_SHIFT, context->vector(p.beta)}};
  call(context, Forward(description), arguments)();
  arguments.erase(DNNL_ARG_DST);
  arguments.insert({{DNNL_ARG_DIFF_DST, context->matrix(p.dy)},
                    {DNNL_ARG_DIFF_SRC, context->matrix(p.dx)},
                    {DNNL_ARG_DIFF_SCALE, context->vector(p.dgamma)},
                    {DNNL_ARG_DIFF_SHIFT, context->vector(p.dbeta)}});
  return call(context, Backward(context->backward(description)), arguments);
}

Run prepare(Problem& p) {
  if (p.what.scalar != Scalar::f32) return {};  // with 16-bit data, scale and shift would be float
  switch (p.what.operation) {
    case Operation::layer_norm:
      return forward(p, p.x);
    case Operation::add_layer_norm:
      return add_forward(p);
    case Operation::layer_norm_backward:
      return backward(p);
    default:
      return {};
  }
}

}  // namespace

Library onednn(int threads) {
  omp_set_num_threads(threads);
  auto const* v = dnnl::version();
  return {"oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch),
          {{"oneDNN", prepare}}};
}

}  // namespace bench
