// SPDX-License-Identifier: MIT
// bench/peers/onnxruntime.cpp -- ONNX Runtime: a model of one node, run on the problem's own buffers.
//
// Packages that ship the library without its header are common (npm's onnxruntime-node), so the few functions used are
// declared here. OrtApi is a struct of function pointers that only ever grows; numbers are positions in it.
#include "../implementation.hpp"
#include "onnx_model.hpp"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <utility>

namespace {
struct OrtApiBase {
  void* const* (*get_api)(std::uint32_t version);
  char const* (*version)();
};
}  // namespace
extern "C" OrtApiBase const* OrtGetApiBase();  // NOLINT(readability-identifier-naming)

namespace bench {
namespace {

enum Function {
  get_error_message = 2,
  create_env = 3,
  create_session_from_array = 8,
  run = 9,
  create_session_options = 10,
  set_intra_op_num_threads = 24,
  create_tensor_with_data = 49,
  create_cpu_memory_info = 69,
  release_session = 95,
  release_value = 96,
  release_session_options = 100,
};

// Opaque objects are void*; a function of the API returns a status, null if all went well.
template <class... Arguments>
void* call(Function function, Arguments... arguments) {
  static void* const* const api = OrtGetApiBase()->get_api(8);  // old, and enough
  return reinterpret_cast<void* (*)(Arguments...)>(api[function])(arguments...);
}
template <class... Arguments>
void check(Function function, Arguments... arguments) {
  if (void* status = call(function, arguments...))
    throw std::runtime_error(static_cast<char const*>(call(get_error_message, static_cast<void const*>(status))));
}
template <class... Arguments>
void* create(Function function, Arguments... arguments) {
  void* result = nullptr;
  check(function, arguments..., &result);
  return result;
}

int type_of(Scalar scalar) { return scalar == Scalar::f32 ? 1 : scalar == Scalar::f16 ? 10 : 16; }

// A session and the tensors of its call. The environment lives to the end.
class Session {
 public:
  Session(Problem const& p, onnx::Node const& node, int threads) : shape_{p.m, p.n}, type_(type_of(p.what.scalar)) {
    static void* const env = create(create_env, 3 /* errors only */, "bench");
    void* const options = create(create_session_options);
    check(set_intra_op_num_threads, options, threads);
    std::string const model = onnx::model(node, type_, shape_, eps);
    session_ = create(create_session_from_array, env, static_cast<void const*>(model.data()), model.size(), options);
    release(release_session_options, options);
  }
  Session(Session const&) = delete;
  Session& operator=(Session const&) = delete;
  ~Session() {
    for (auto* value : inputs_) release(release_value, value);
    for (auto* value : outputs_) release(release_value, value);
    release(release_session, session_);
  }

  void input(char const* name, Buffer const& buffer) { add(name, buffer, input_names_, inputs_); }
  void output(char const* name, Buffer const& buffer) { add(name, buffer, output_names_, outputs_); }
  void operator()() {
    check(run, session_, static_cast<void*>(nullptr), input_names_.data(), inputs_.data(), inputs_.size(),
          output_names_.data(), output_names_.size(), outputs_.data());
  }

 private:
  static void release(Function function, void* object) { call(function, object); }
  void add(char const* name, Buffer const& buffer, std::vector<char const*>& names, std::vector<void*>& values) {
    static void* const memory = create(create_cpu_memory_info, 0 /* device allocator */, 0 /* default memory */);
    auto const bytes = static_cast<std::size_t>(buffer.count() * size_of(buffer.scalar()));
    names.push_back(name);
    values.push_back(create(create_tensor_with_data, static_cast<void const*>(memory), buffer.as<void>(), bytes,
                            static_cast<std::int64_t const*>(shape_.data()), shape_.size(), type_));
  }

  onnx::Shape shape_;
  int type_;
  void* session_ = nullptr;
  std::vector<char const*> input_names_, output_names_;
  std::vector<void*> inputs_, outputs_;
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
    auto session = std::make_shared<Session>(p, node, threads);
    session->input("x", p.x);
    if (is_add(p.what.operation)) session->input("r", p.r);
    session->output("y", p.y);
    if (is_add(p.what.operation)) session->output("s", p.s);
    return [session] { (*session)(); };
  } catch (std::exception const& e) {  // a version without this operator
    std::fprintf(stderr, "ONNX Runtime: %s\n", e.what());
    return {};
  }
}

}  // namespace

Library onnxruntime(int threads) {
  return {std::string("ONNX Runtime ") + OrtGetApiBase()->version(),
          {{"ONNX Runtime", [threads](Problem& p) { return prepare(p, threads); }}}};
}

}  // namespace bench
