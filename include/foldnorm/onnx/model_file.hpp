// SPDX-License-Identifier: MIT
// foldnorm/onnx/model_file.hpp -- an ONNX model from a file, and to one.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/files/atomic_file.hpp>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/stubs/logging.h>
#include <onnx/onnx_pb.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace foldnorm::inline FOLDNORM_ABI {

// A file that is no ONNX model, or a model that breaks ONNX's rules: "FILE: what is wrong".
struct onnx_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Protocol buffers' own limit. Larger models keep their tensors outside.
inline constexpr std::uint64_t most_model_bytes = std::numeric_limits<std::int32_t>::max();

namespace detail {

// A name from a file in a message: printable, and not the whole of it where it is long.
inline std::string printable(std::string_view name) {
  constexpr std::size_t most = 80;
  std::string text = "'";
  for (char const c : name.substr(0, most)) text += c >= ' ' && c <= '~' ? c : '?';
  return text + (name.size() > most ? "...'" : "'");
}

}  // namespace detail

// A model and the file that it came from. The bytes are not kept: what is not changed is copied from the file.
class OnnxFile {
 public:
  // Throws onnx_error for a file that cannot be opened, is not a regular file, is larger than protocol buffers allow,
  // cannot be parsed (truncated, not protocol buffers, nested deeper than 100 messages), or holds no graph. Takes the
  // file's size in memory, and what protocol buffers make of it.
  explicit OnnxFile(std::filesystem::path path) : path_(std::move(path)) {
    std::string const bytes = read_bytes();
    google::protobuf::LogSilencer const quiet;  // a throw says it
    google::protobuf::io::CodedInputStream in(reinterpret_cast<std::uint8_t const*>(bytes.data()),
                                              static_cast<int>(bytes.size()));
    in.SetRecursionLimit(100);
    if (!model_.ParseFromCodedStream(&in) || !in.ConsumedEntireMessage()) fail("is no ONNX model, or not all of one");
    if (!model_.has_graph()) fail("holds no graph");
  }

  std::string name() const { return path_.string(); }  // as messages give it
  std::filesystem::path const& path() const { return path_; }
  std::filesystem::path folder() const { return path_.has_parent_path() ? path_.parent_path() : "."; }
  ::onnx::ModelProto const& model() const { return model_; }

  // The file's bytes as they are now.
  void copy_to(AtomicFile& out) const { out.write(read_bytes()); }

 private:
  [[noreturn]] void fail(std::string const& what) const { detail::raise<onnx_error>(name() + ": " + what); }

  std::string read_bytes() const {
    std::error_code error;
    if (std::filesystem::exists(path_, error) && !std::filesystem::is_regular_file(path_, error)) {
      fail("is not a regular file");
    }
    std::ifstream stream(path_, std::ios::binary);
    if (!stream) fail(std::string("cannot be opened: ") + std::strerror(errno));
    std::uint64_t const size = std::filesystem::file_size(path_, error);
    if (error) fail("its size is unknown: " + error.message());
    if (size > most_model_bytes) {
      fail(std::to_string(size) + " bytes, expected at most " + std::to_string(most_model_bytes) +
           ": larger models keep their tensors in other files (external data)");
    }
    std::string bytes(size, '\0');
    stream.read(bytes.data(), static_cast<std::streamsize>(size));
    if (!stream) fail("cannot be read: " + std::to_string(size) + " bytes");
    return bytes;
  }

  std::filesystem::path path_;
  ::onnx::ModelProto model_;
};

// The opset of ONNX's own operators that a model imports; 1 if it says none.
inline std::int64_t standard_opset(::onnx::ModelProto const& model) {
  std::int64_t opset = 1;
  for (auto const& import : model.opset_import()) {
    if (import.domain().empty() || import.domain() == "ai.onnx") opset = import.version();
  }
  return opset;
}

// Throws std::runtime_error if the model is larger than protocol buffers allow, or as AtomicFile does.
inline void write_onnx_model(AtomicFile& out, ::onnx::ModelProto const& model) {
  if (model.ByteSizeLong() > most_model_bytes) {
    detail::raise<std::runtime_error>("a model of " + std::to_string(model.ByteSizeLong()) +
                                      " bytes, expected at most " + std::to_string(most_model_bytes) +
                                      ": larger models keep their tensors in other files (external data)");
  }
  out.write(model.SerializeAsString());
}

}  // namespace foldnorm::inline FOLDNORM_ABI
