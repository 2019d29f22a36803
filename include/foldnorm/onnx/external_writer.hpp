// SPDX-License-Identifier: MIT
// foldnorm/onnx/external_writer.hpp -- the file of external data that a model gets with it: PATH.data beside PATH.
#pragma once

#include <foldnorm/files/atomic_file.hpp>
#include <foldnorm/onnx/external_data.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace foldnorm::inline FOLDNORM_ABI {

// Tensors are put behind each other, and say where; until the file is committed they name the unfinished one, from
// which a runtime can read them. A file appears only if something is put into it. Throws as AtomicFile does.
class ExternalWriter {
 public:
  explicit ExternalWriter(std::filesystem::path const& model) : path_(model.string() + ".data") {}

  std::filesystem::path const& path() const { return path_; }
  bool is_used() const { return file_.has_value(); }

  // The tensor's data become these.
  void put(::onnx::TensorProto& tensor, std::span<std::byte const> bytes) {
    begin(tensor, bytes.size());
    file_->write(bytes);
    end_ += bytes.size();
  }
  // ... those that it holds itself, raw.
  void move_out(::onnx::TensorProto& tensor) {
    std::string const bytes = std::move(*tensor.mutable_raw_data());
    put(tensor, std::as_bytes(std::span(bytes)));
  }
  // ... those that it has outside of `file`'s model, piece by piece. Throws onnx_error, too, where they are not there.
  void take_over(::onnx::TensorProto& tensor, OnnxFile const& file) {
    ::onnx::TensorProto const before = tensor;
    detail::ExternalData const data(before, file);
    detail::ExternalBytes const from = data.find(std::nullopt);
    begin(tensor, from.length);
    constexpr std::uint64_t piece = 1 << 20;
    data.read(from, piece, [&](std::string const& bytes) { file_->write(bytes); });
    end_ += from.length;
  }

  // Is the tensor's place in this file?
  bool has(::onnx::TensorProto const& tensor) const {
    return file_ && detail::is_external(tensor) && detail::external_entry(tensor, "location") == unfinished();
  }
  // The tensors of this file name it as it is called once it is committed.
  void finish(::onnx::ModelProto& model) const {
    for (::onnx::TensorProto const* const tensor : detail::external_tensors(model)) {
      if (!has(*tensor)) continue;
      for (auto& entry : *const_cast<::onnx::TensorProto*>(tensor)->mutable_external_data()) {
        if (entry.key() == "location") entry.set_value(path_.filename().string());
      }
    }
  }
  void close() {
    if (file_) file_->close();
  }
  void commit() {
    if (file_) file_->commit();
  }

 private:
  std::string unfinished() const { return file_->partial_path().filename().string(); }

  // Makes the tensor one of so many bytes at the end of the file.
  void begin(::onnx::TensorProto& tensor, std::uint64_t length) {
    constexpr std::uint64_t page = 4096;  // so that the file can be mapped
    if (!file_) file_.emplace(path_);
    std::uint64_t const offset = (end_ + page - 1) / page * page;
    file_->write(std::string(offset - end_, '\0'));
    end_ = offset;
    tensor.clear_raw_data();
    tensor.clear_external_data();
    tensor.set_data_location(::onnx::TensorProto::EXTERNAL);
    for (auto const& [key, value] : {std::pair<char const*, std::string>{"location", unfinished()},
                                     {"offset", std::to_string(offset)},
                                     {"length", std::to_string(length)}}) {
      auto& entry = *tensor.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    }
  }

  std::filesystem::path path_;
  std::optional<AtomicFile> file_;
  std::uint64_t end_ = 0;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
