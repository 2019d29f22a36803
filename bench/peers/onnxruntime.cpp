// SPDX-License-Identifier: MIT
// bench/peers/onnxruntime.cpp -- ONNX Runtime: a model of one node, run on the problem's own buffers.
#include "../implementation.hpp"
#include "onnx/onnx_runtime.hpp"
#include "onnx_model.hpp"

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace bench {
namespace {

using onnx_runtime::Type;

Type type_of(Scalar scalar) {
  return scalar == Scalar::f32 ? Type::f32 : scalar == Scalar::f16 ? Type::f16 : Type::bf16;
}

// A session and the tensors of its call.
class NormCall {
 public:
  NormCall(Problem const& p, onnx::Node const& node, int threads)
      : shape_{p.m, p.n},
        type_(type_of(p.what.scalar)),
        session_(onnx_runtime::Session::from_bytes(onnx::model(node, static_cast<int>(type_), shape_, eps), {threads})),
        call_(session_) {}

  void input(char const* name, Buffer const& buffer) { call_.input(name, type_, shape_, buffer.as<void>()); }
  void output(char const* name, Buffer const& buffer) { call_.output(name, type_, shape_, buffer.as<void>()); }
  void operator()() { call_.run(); }

 private:
  onnx::Shape shape_;
  Type type_;
  onnx_runtime::Session session_;
  onnx_runtime::Call call_;
};

onnx::Constant constant(char const* name, Buffer const& buffer) {
  return {
      name, buffer.count(), {buffer.as<char>(), static_cast<std::size_t>(buffer.count() * size_of(buffer.scalar()))}};
}

onnx::Node node_of(Problem const& p) {
  auto const gamma = constant("gamma", p.gamma), beta = constant("beta", p.beta);
  switch (p.what.operation) {
    case Operation::layer_norm:
      return {"LayerNormalization", "", {"x"}, {gamma, beta}, {"y"}, true};
    case Operation::rms_norm:
      return {"SimplifiedLayerNormalization", "", {"x"}, {gamma}, {"y"}, true};
    case Operation::add_layer_norm:
      return {"SkipLayerNormalization", "com.microsoft", {"x", "r"}, {gamma, beta}, {"y", "", "", "s"}, false};
    case Operation::add_rms_norm:
      return {"SkipSimplifiedLayerNormalization", "com.microsoft", {"x", "r"}, {gamma}, {"y", "", "", "s"}, false};
    default:
      return {};
  }
}

Run prepare(Problem& p, int threads) {
  static_assert(residual_scale == 1, "the Skip operators add as it is");
  onnx::Node const node = node_of(p);
  if (node.operation.empty() || p.what.scalar == Scalar::bf16) return {};
  try {
    auto call = std::make_shared<NormCall>(p, node, threads);
    call->input("x", p.x);
    if (is_add(p.what.operation)) call->input("r", p.r);
    call->output("y", p.y);
    if (is_add(p.what.operation)) call->output("s", p.s);
    return [call] { (*call)(); };
  } catch (std::exception const& e) {  // a version without this operator
    std::fprintf(stderr, "%s\n", e.what());
    return {};
  }
}

}  // namespace

Library onnxruntime(int threads) {
  return {std::string("ONNX Runtime ") + onnx_runtime::version(),
          {{"ONNX Runtime", [threads](Problem& p) { return prepare(p, threads); }}}};
}

}  // namespace bench
