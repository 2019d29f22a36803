// SPDX-License-Identifier: MIT
// foldnorm/onnx/output.hpp -- where a folded model goes: the model, and the data that it keeps outside.
//
//   OnnxFile file("model.onnx");
//   OnnxOutput out("folded.onnx", file);
//   FoldedOnnx folded = fold_onnx_model(file, {}, out.data());
//   folded.changes() ? out.write(folded.model) : out.copy();
//   out.commit();
//
// Of a model with external data, what changes goes to folded.onnx.data. What does not stays where it is if the output
// is in the same folder; else, or if folded.onnx.data is the very file that it is in, it is copied to folded.onnx.data,
// too.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/files/atomic_file.hpp>
#include <foldnorm/onnx/external_data.hpp>
#include <foldnorm/onnx/external_writer.hpp>
#include <foldnorm/onnx/model_file.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <list>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

class OnnxOutput {
 public:
  // `original` is not owned. Throws std::runtime_error as AtomicFile does: the place can be written to, or it is known
  // before any work is done; onnx_error where model or data would replace data of the original, unless that is
  // replaced, too.
  OnnxOutput(std::filesystem::path path, OnnxFile const& original)
      : path_(std::move(path)), original_(original), model_(path_), data_(path_) {
    for (auto const* const tensor : detail::external_tensors(original.model())) {
      locations_.insert(detail::external_entry(*tensor, "location"));
    }
    bool const is_over_original = is_same_file(path_, original.path());
    for (std::string const& location : locations_) {
      auto const data = original.folder() / location;
      bool const is_taken = is_same_file(data, path_) || (!is_over_original && is_same_file(data, data_.path()));
      if (!is_taken) continue;
      detail::raise<onnx_error>(path_.string() + ": " + data.string() + " holds data of " + original.name() +
                                ", which would be lost: write to another place");
    }
  }

  std::filesystem::path folder() const { return path_.has_parent_path() ? path_.parent_path() : "."; }

  // For fold_onnx_model: null of a model that keeps nothing outside.
  ExternalWriter* data() { return locations_.empty() ? nullptr : &data_; }

  // Brings what the model has outside to where the output finds it. From then on until it is committed, the model can
  // be run with this output's folder as its own. Throws onnx_error where data are not where the original says.
  void complete(::onnx::ModelProto& model) {
    if (!moves_all()) return;
    for (::onnx::TensorProto const* const tensor : detail::external_tensors(model)) {
      if (!data_.has(*tensor)) data_.take_over(const_cast<::onnx::TensorProto&>(*tensor), original_);
    }
  }
  // A model that is complete. Throws std::runtime_error if it is larger than protocol buffers allow.
  void write(::onnx::ModelProto& model) {
    data_.finish(model);
    write_onnx_model(model_, model);
  }
  // The original as it is, byte for byte. In another folder it gets its external data under their names. Throws
  // onnx_error where a file of such a name is there already and holds something else.
  void copy() {
    original_.copy_to(model_);
    if (is_same_folder()) return;
    for (auto const* const tensor : detail::external_tensors(original_.model())) {
      std::string const location = detail::external_entry(*tensor, "location");
      if (locations_.erase(location) > 0)
        copy_file(detail::ExternalData(*tensor, original_).path(), folder() / location);
    }
  }

  // Data first: until the last step, the model, there is what was there before. Only where the model before that had
  // its data in the same file does it not fit them for the moment between the two.
  void commit() {
    model_.close();
    data_.close();
    for (AtomicFile& file : copies_) file.close();
    for (AtomicFile& file : copies_) file.commit();
    data_.commit();
    model_.commit();
  }

 private:
  // Is it one file or folder? Where one is not there, no.
  static bool is_same_file(std::filesystem::path const& a, std::filesystem::path const& b) {
    std::error_code error;
    return std::filesystem::equivalent(a, b, error);
  }
  bool is_same_folder() const { return is_same_file(folder(), original_.folder()); }
  bool moves_all() const {
    if (!is_same_folder()) return true;
    return std::ranges::any_of(locations_, [&](std::string const& location) {
      return is_same_file(original_.folder() / location, data_.path());
    });
  }

  void copy_file(std::filesystem::path const& from, std::filesystem::path const& to) {
    if (std::filesystem::exists(to)) {
      if (std::filesystem::equivalent(from, to) || has_same_bytes(from, to)) return;
      detail::raise<onnx_error>(original_.name() + ": " + to.string() +
                                " is there already, and is not this model's: write to another folder");
    }
    std::filesystem::create_directories(to.parent_path());
    AtomicFile& copy = copies_.emplace_back(to);
    for_each_piece(from, [&](std::string const& piece) { copy.write(piece); });
  }
  // Calls take(piece) for one piece after the other, at the end for an empty one.
  template <class Take>
  static void for_each_piece(std::filesystem::path const& path, Take take) {
    std::ifstream stream(path, std::ios::binary);
    std::string piece;
    do {
      piece.resize(1 << 20);
      stream.read(piece.data(), static_cast<std::streamsize>(piece.size()));
      piece.resize(static_cast<std::size_t>(stream.gcount()));
      take(piece);
    } while (!piece.empty());
    if (!stream.eof()) detail::raise<std::runtime_error>(path.string() + ": cannot be read");
  }
  static bool has_same_bytes(std::filesystem::path const& a, std::filesystem::path const& b) {
    if (!std::filesystem::is_regular_file(b) || std::filesystem::file_size(a) != std::filesystem::file_size(b)) {
      return false;
    }
    std::ifstream other(b, std::ios::binary);
    std::string read;
    bool same = true;
    for_each_piece(a, [&](std::string const& piece) {
      read.resize(piece.size());
      other.read(read.data(), static_cast<std::streamsize>(read.size()));
      same = same && other && read == piece;
    });
    return same;
  }

  std::filesystem::path path_;
  OnnxFile const& original_;
  AtomicFile model_;
  ExternalWriter data_;
  std::list<AtomicFile> copies_;
  std::set<std::string> locations_;  // of the original's external data
};

}  // namespace foldnorm::inline FOLDNORM_ABI
