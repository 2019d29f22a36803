// SPDX-License-Identifier: MIT
// onnx/onnx_runtime.hpp -- ONNX Runtime: sessions, and calls on the caller's own buffers.
#pragma once

#include "api.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace onnx_runtime {

using Shape = std::vector<std::int64_t>;

// The numbers are ONNX's and ONNX Runtime's alike.
enum class Type : int { f32 = 1, u8 = 2, i8 = 3, i32 = 6, i64 = 7, boolean = 9, f16 = 10, f64 = 11, bf16 = 16 };

// Of one element; 0 for a type that is not listed.
inline std::size_t size_of(Type type) {
  switch (type) {
    case Type::u8:
    case Type::i8:
    case Type::boolean:
      return 1;
    case Type::f16:
    case Type::bf16:
      return 2;
    case Type::f32:
    case Type::i32:
      return 4;
    case Type::i64:
    case Type::f64:
      return 8;
  }
  return 0;
}

// Of an input or output. Sizes that a call may choose are -1, with their names, which may be empty.
struct TensorInfo {
  std::string name;
  Type type = Type::f32;
  Shape shape;
  std::vector<std::string> symbols;
};

// What an output held after a call.
struct Tensor {
  Type type = Type::f32;
  Shape shape;
  std::vector<std::byte> bytes;
};

namespace detail {

inline void* allocator() {
  static void* const found = get(get_default_allocator);
  return found;
}
// Takes over a string that the library allocated.
inline std::string take_text(char* text) {
  std::string result = text;
  check(allocator_free, allocator(), static_cast<void*>(text));
  return result;
}

// Precondition: `info` describes a tensor, and its type and shape are asked for.
inline TensorInfo read_info(void const* info) {
  TensorInfo result;
  result.type = static_cast<Type>(get<int>(get_element_type, info));
  auto const rank = get<std::size_t>(get_dimension_count, info);
  result.shape.resize(rank);
  check(get_dimensions, info, result.shape.data(), rank);
  std::vector<char const*> symbols(rank);
  check(get_symbolic_dimensions, info, symbols.data(), rank);
  result.symbols.assign(symbols.begin(), symbols.end());
  return result;
}

inline std::vector<TensorInfo> read_infos(void* session, Function count, Function name, Function type) {
  std::vector<TensorInfo> infos;
  auto const size = get<std::size_t>(count, session);
  for (std::size_t i = 0; i < size; ++i) {
    std::string text = take_text(get<char*>(name, session, i, allocator()));
    void* const whole = get(type, session, i);
    auto const* const tensor = get<void const*>(cast_type_to_tensor, static_cast<void const*>(whole));
    if (tensor) infos.push_back(read_info(tensor));
    call(release_type, whole);
    if (!tensor) throw std::runtime_error("ONNX Runtime: " + text + " is not a tensor");
    infos.back().name = std::move(text);
  }
  return infos;
}

}  // namespace detail

// "1.18.0". Throws std::runtime_error that says how to install it where there is none; so does all below.
inline std::string version() { return detail::base().version(); }

inline bool is_available() {
  try {
    return !version().empty();
  } catch (std::runtime_error const&) {
    return false;
  }
}

struct SessionOptions {
  int threads = 1;
  bool spin = true;                 // threads wait for the next run at work, which slows others that are being timed
  std::string data_folder = {};     // of a model given as bytes: where its external data are
  std::string profile_prefix = {};  // not empty: times each node, see Session::end_profiling
  std::string optimized_path = {};  // not empty: writes what it makes of the model to this file
};

// A model, ready to run. Every function throws std::runtime_error with ONNX Runtime's own message.
class Session {
 public:
  static Session from_file(std::string const& path, SessionOptions const& options = {}) {
    Options const made(options);
    return Session(detail::get(detail::create_session, environment(), path.c_str(), made.get()));
  }
  static Session from_bytes(std::string_view model, SessionOptions const& options = {}) {
    Options const made(options);
    return Session(detail::get(detail::create_session_from_array, environment(), static_cast<void const*>(model.data()),
                               model.size(), made.get()));
  }
  Session(Session&& other) noexcept : session_(std::exchange(other.session_, nullptr)) {}
  Session(Session const&) = delete;
  Session& operator=(Session const&) = delete;
  ~Session() {
    if (session_) detail::call(detail::release_session, session_);
  }

  std::vector<TensorInfo> inputs() const {
    return detail::read_infos(session_, detail::get_input_count, detail::get_input_name, detail::get_input_type);
  }
  std::vector<TensorInfo> outputs() const {
    return detail::read_infos(session_, detail::get_output_count, detail::get_output_name, detail::get_output_type);
  }

  // The file of times, in the format of Chrome's traces. Precondition: options.profile_prefix was given.
  std::string end_profiling() {
    return detail::take_text(detail::get<char*>(detail::end_profiling, session_, detail::allocator()));
  }

 private:
  friend class Call;

  class Options {
   public:
    explicit Options(SessionOptions const& given) : options_(detail::get(detail::create_session_options)) {
      detail::check(detail::set_intra_op_num_threads, options_, given.threads);
      if (!given.spin) configure("session.force_spinning_stop", "1");
      if (!given.data_folder.empty()) {
        configure("session.model_external_initializers_file_folder_path", given.data_folder);
      }
      if (!given.profile_prefix.empty()) {
        detail::check(detail::enable_profiling, options_, given.profile_prefix.c_str());
      }
      if (!given.optimized_path.empty()) {
        detail::check(detail::set_optimized_model_path, options_, given.optimized_path.c_str());
      }
    }
    Options(Options const&) = delete;
    Options& operator=(Options const&) = delete;
    ~Options() { detail::call(detail::release_session_options, options_); }
    void* get() const { return options_; }

   private:
    void configure(char const* key, std::string const& value) {
      detail::check(detail::add_session_config_entry, options_, key, value.c_str());
    }
    void* options_;
  };

  explicit Session(void* session) : session_(session) {}
  static void* environment() {  // lives to the end
    static void* const created = detail::get(detail::create_env, 3 /* errors only */, "foldnorm");
    return created;
  }

  void* session_;
};

// The tensors of a session's runs, the same ones each time.
class Call {
 public:
  // The session has to outlive the call.
  explicit Call(Session const& session) : session_(session.session_) {}
  Call(Call&& other) noexcept = default;
  Call(Call const&) = delete;
  Call& operator=(Call const&) = delete;
  ~Call() {
    for (Tensors const* const tensors : {&inputs_, &outputs_}) {
      for (void* const value : tensors->values) {
        if (value) detail::call(detail::release_value, value);
      }
    }
  }

  // Memory of the caller's, read or written in each run; nothing is copied.
  void input(std::string name, Type type, Shape const& shape, void* data) {
    add(inputs_, std::move(name), tensor(type, shape, data));
  }
  void output(std::string name, Type type, Shape const& shape, void* data) {
    add(outputs_, std::move(name), tensor(type, shape, data));
  }
  // Memory that ONNX Runtime takes in the first run.
  void output(std::string name) { add(outputs_, std::move(name), nullptr); }

  void run() {
    detail::check(detail::run, session_, static_cast<void*>(nullptr), inputs_.texts.data(), inputs_.values.data(),
                  inputs_.values.size(), outputs_.texts.data(), outputs_.values.size(), outputs_.values.data());
  }

  // A copy of the output that was named i-th. Precondition: run() was called.
  Tensor result(std::size_t i) const {
    void* const info = detail::get(detail::get_tensor_type_and_shape, static_cast<void const*>(outputs_.values[i]));
    TensorInfo described = detail::read_info(info);
    detail::call(detail::release_tensor_type_and_shape, info);
    Tensor tensor{described.type, std::move(described.shape), {}};
    std::size_t count = size_of(tensor.type);
    for (std::int64_t const size : tensor.shape) count *= static_cast<std::size_t>(size);
    tensor.bytes.resize(count);
    void const* const data = detail::get(detail::get_tensor_data, outputs_.values[i]);
    if (count > 0) std::memcpy(tensor.bytes.data(), data, count);
    return tensor;
  }

 private:
  struct Tensors {
    std::vector<std::string> names;
    std::vector<char const*> texts;  // the names
    std::vector<void*> values;
  };

  static void* tensor(Type type, Shape const& shape, void* data) {
    static void* const memory =
        detail::get(detail::create_cpu_memory_info, 0 /* device allocator */, 0 /* default memory */);
    std::size_t bytes = size_of(type);
    for (std::int64_t const size : shape) bytes *= static_cast<std::size_t>(size);
    return detail::get(detail::create_tensor_with_data, static_cast<void const*>(memory), data, bytes, shape.data(),
                       shape.size(), static_cast<int>(type));
  }
  static void add(Tensors& tensors, std::string name, void* value) {
    tensors.values.push_back(value);
    tensors.names.push_back(std::move(name));
    tensors.texts.clear();
    for (std::string const& text : tensors.names) tensors.texts.push_back(text.c_str());
  }

  void* session_;
  Tensors inputs_, outputs_;
};

}  // namespace onnx_runtime
