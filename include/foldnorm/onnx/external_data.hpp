// SPDX-License-Identifier: MIT
// foldnorm/onnx/external_data.hpp -- tensors whose bytes lie in a file beside the model's.
//
// A model says where: a path relative to its own folder, an offset, a length. Each is checked before a byte is read:
// the path is not to leave the folder, by ".." or by a link, and what it names is a regular file that has those bytes.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/onnx/model_file.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// The elements that a tensor's shape says; empty if an axis is negative, or they are more than a file can hold.
inline std::optional<std::uint64_t> element_count(::onnx::TensorProto const& tensor) {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / sizeof(double);
  std::uint64_t count = 1;
  for (std::int64_t const length : tensor.dims()) {
    if (length < 0) return std::nullopt;
    auto const factor = static_cast<std::uint64_t>(length);
    if (factor != 0 && count > most / factor) return std::nullopt;
    count *= factor;
  }
  return count;
}

namespace detail {

inline bool is_external(::onnx::TensorProto const& tensor) {
  return tensor.data_location() == ::onnx::TensorProto::EXTERNAL;
}
// An entry of what a tensor says about its data; empty if it has none.
inline std::string external_entry(::onnx::TensorProto const& tensor, std::string_view key) {
  std::string value;
  for (auto const& entry : tensor.external_data()) {
    if (entry.key() == key) value = entry.value();
  }
  return value;
}

// The bytes that a tensor's shape and type say; empty of a type that foldnorm does not know the size of.
inline std::optional<std::uint64_t> stored_bytes(::onnx::TensorProto const& tensor) {
  using Tensor = ::onnx::TensorProto;
  auto const count = element_count(tensor);
  if (!count) return std::nullopt;
  switch (tensor.data_type()) {
    case Tensor::BOOL:
    case Tensor::INT8:
    case Tensor::UINT8:
      return *count;
    case Tensor::INT16:
    case Tensor::UINT16:
    case Tensor::FLOAT16:
    case Tensor::BFLOAT16:
      return 2 * *count;
    case Tensor::INT32:
    case Tensor::UINT32:
    case Tensor::FLOAT:
      return 4 * *count;
    case Tensor::INT64:
    case Tensor::UINT64:
    case Tensor::DOUBLE:
      return 8 * *count;
    default:
      return std::nullopt;
  }
}

template <class Nodes>
void add_external_tensors(Nodes const& nodes, std::vector<::onnx::TensorProto const*>& found);

inline void add_external_tensors(::onnx::GraphProto const& graph, std::vector<::onnx::TensorProto const*>& found) {
  for (auto const& tensor : graph.initializer()) {
    if (is_external(tensor)) found.push_back(&tensor);
  }
  for (auto const& sparse : graph.sparse_initializer()) {
    for (auto const* const tensor : {&sparse.values(), &sparse.indices()}) {
      if (is_external(*tensor)) found.push_back(tensor);
    }
  }
  add_external_tensors(graph.node(), found);
}
template <class Nodes>
void add_external_tensors(Nodes const& nodes, std::vector<::onnx::TensorProto const*>& found) {
  for (auto const& node : nodes) {
    for (auto const& attribute : node.attribute()) {
      if (attribute.has_t() && is_external(attribute.t())) found.push_back(&attribute.t());
      for (auto const& tensor : attribute.tensors()) {
        if (is_external(tensor)) found.push_back(&tensor);
      }
      if (attribute.has_g()) add_external_tensors(attribute.g(), found);
      for (auto const& graph : attribute.graphs()) add_external_tensors(graph, found);
    }
  }
}

// All tensors of a model that lie outside, those of graphs inside nodes and of the model's functions among them.
inline std::vector<::onnx::TensorProto const*> external_tensors(::onnx::ModelProto const& model) {
  std::vector<::onnx::TensorProto const*> found;
  add_external_tensors(model.graph(), found);
  for (auto const& function : model.functions()) add_external_tensors(function.node(), found);
  return found;
}

// The bytes of a tensor outside.
struct ExternalBytes {
  std::filesystem::path path;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

class ExternalData {
 public:
  // Of these two, neither of which is owned: messages name the model's file and the tensor.
  ExternalData(::onnx::TensorProto const& tensor, OnnxFile const& file) : tensor_(tensor), file_(file) {}

  // The file, with all links resolved. Throws onnx_error where it may not lie, or is not.
  std::filesystem::path path() const {
    std::string const text = external_entry(tensor_, "location");
    std::filesystem::path const relative(text);
    bool leaves = relative.empty() || relative.has_root_path() || text.find('\0') != std::string::npos;
    for (auto const& part : relative) leaves = leaves || part == "..";
    if (leaves) fail("at " + location() + ", expected a path inside the model's folder");
    std::error_code error;
    auto const folder = std::filesystem::canonical(file_.folder(), error);
    auto path = std::filesystem::canonical(file_.folder() / relative, error);
    if (error) fail("at " + location() + ": " + error.message());
    auto const inside = path.lexically_relative(folder);
    if (inside.empty() || *inside.begin() == "..") fail("at " + location() + " is a link out of the folder");
    if (!std::filesystem::is_regular_file(path)) fail("at " + location() + " is not a regular file");
    return path;
  }

  // Where they are. `expected`: how many the tensor's shape and type say; without it, as many as the model says, or if
  // it says nothing (PyTorch's exporter, which writes a file for each tensor), as the shape and a type of known size
  // do, or all from the offset on. Throws onnx_error where they may not be there, or are not.
  ExternalBytes find(std::optional<std::uint64_t> expected) const {
    ExternalBytes found{path(), number("offset").value_or(0), 0};
    std::uint64_t const size = std::filesystem::file_size(found.path);
    auto const length = number("length");
    std::uint64_t const rest = found.offset <= size ? size - found.offset : 0;
    found.length = length.value_or(expected.value_or(stored_bytes(tensor_).value_or(rest)));
    if (expected && found.length != *expected) {
      fail("of " + std::to_string(found.length) + " bytes, expected " + std::to_string(*expected) + " by its shape");
    }
    if (found.offset > size || found.length > size - found.offset) {
      fail("at bytes " + std::to_string(found.offset) + " + " + std::to_string(found.length) + " of " + location() +
           ", which has " + std::to_string(size));
    }
    return found;
  }

  // Calls take(bytes) for one piece after the other, each of at most so many bytes.
  template <class Take>
  void read(ExternalBytes const& from, std::uint64_t most, Take take) const {
    std::ifstream stream(from.path, std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(from.offset));
    std::string piece;
    for (std::uint64_t left = from.length; left > 0; left -= piece.size()) {
      piece.resize(std::min(left, most));
      stream.read(piece.data(), static_cast<std::streamsize>(piece.size()));
      if (!stream) fail("at " + location() + " cannot be read");
      take(piece);
    }
  }
  // ... all of them, to memory that is there.
  void read(ExternalBytes const& from, char* to) const {
    std::ifstream stream(from.path, std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(from.offset));
    stream.read(to, static_cast<std::streamsize>(from.length));
    if (!stream && from.length > 0) fail("at " + location() + " cannot be read");
  }

 private:
  [[noreturn]] void fail(std::string const& what) const {
    detail::raise<onnx_error>(file_.name() + ": tensor " + printable(tensor_.name()) + ": external data " + what);
  }
  std::string location() const { return printable(external_entry(tensor_, "location")); }

  std::optional<std::uint64_t> number(std::string const& key) const {
    std::string const text = external_entry(tensor_, key);
    if (text.empty()) return std::nullopt;
    std::uint64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) fail(key + " " + printable(text));
    return value;
  }

  ::onnx::TensorProto const& tensor_;
  OnnxFile const& file_;
};

// The tensor's bytes, of which there have to be `expected`. Throws onnx_error as ExternalData::find does.
inline std::string external_bytes(::onnx::TensorProto const& tensor, std::uint64_t expected, OnnxFile const& file) {
  ExternalData const data(tensor, file);
  ExternalBytes const found = data.find(expected);
  std::string bytes(found.length, '\0');
  data.read(found, bytes.data());
  return bytes;
}

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
