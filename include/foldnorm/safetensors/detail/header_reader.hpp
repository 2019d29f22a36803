// SPDX-License-Identifier: MIT
// foldnorm/safetensors/detail/header_reader.hpp -- the JSON of a safetensors header, taken as it is parsed.
//
// Only what the format allows is stored, and the first thing that it does not allow ends the parsing: a header that is
// hostile costs no more memory than its own size, and nesting none.
#pragma once

#include <foldnorm/safetensors/header.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace foldnorm::detail {

// The events of nlohmann's parser; a false ends it, and fault() says why.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(SafetensorsHeader& header) : header_(header) {}

  std::string const& fault() const { return fault_; }

  bool key(string_t& name) override {
    switch (place_) {
      case Place::tensors:
        return begin_entry(name);
      case Place::metadata:
        if (!metadata_keys_.insert(name).second)
          return refuse("__metadata__: key " + in_quotes(name) + " is there twice");
        header_.metadata->emplace_back(std::move(name), std::string());
        return true;
      default:
        return begin_field(name);
    }
  }

  bool start_object(std::size_t) override {
    switch (place_) {
      case Place::document:
        place_ = Place::tensors;
        return true;
      case Place::entry:
        place_ = Place::tensor;
        return true;
      case Place::metadata_entry:
        place_ = Place::metadata;
        return true;
      default:
        return unexpected("an object");
    }
  }
  bool end_object() override {
    if (place_ == Place::tensor && !(has_type_ && has_shape_ && has_offsets_)) {
      return refuse(tensor() + " lacks its " + (!has_type_ ? "dtype" : !has_shape_ ? "shape" : "data_offsets"));
    }
    place_ = place_ == Place::tensors ? Place::document : Place::tensors;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::shape_field) {
      place_ = Place::shape;
    } else if (place_ == Place::offsets_field) {
      place_ = Place::offsets;
    } else {
      return unexpected("a list");
    }
    return true;
  }
  bool end_array() override {
    if (place_ == Place::offsets && offset_count_ != 2) {
      return refuse(tensor() + ": " + std::to_string(offset_count_) + " data_offsets, expected 2");
    }
    place_ = Place::tensor;
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::metadata) {
      header_.metadata->back().second = std::move(text);
      return true;
    }
    if (place_ != Place::type_field) return unexpected("a string");
    auto const type = find_tensor_type(text);
    if (!type) return refuse(tensor() + ": dtype " + in_quotes(text) + " is none of the format's");
    header_.tensors.back().type = *type;
    place_ = Place::tensor;
    return true;
  }
  bool number_unsigned(number_unsigned_t number) override {
    TensorDescription* const tensor = header_.tensors.empty() ? nullptr : &header_.tensors.back();
    if (place_ == Place::shape) {
      constexpr std::size_t most_dimensions = 64;
      if (tensor->shape.size() == most_dimensions) return refuse(this->tensor() + " has more than 64 dimensions");
      tensor->shape.push_back(number);
      return true;
    }
    if (place_ != Place::offsets) return unexpected("a number");
    ++offset_count_;
    if (offset_count_ == 1) tensor->begin = number;
    if (offset_count_ == 2) tensor->end = number;
    return offset_count_ <= 2 || refuse(this->tensor() + ": more than 2 data_offsets");
  }
  bool number_integer(number_integer_t number) override {
    return unexpected("the negative number " + std::to_string(number));
  }
  bool number_float(number_float_t, string_t const&) override {
    return unexpected("a number that is no integer, or too large");
  }
  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("true or false"); }
  bool binary(binary_t&) override { return unexpected("bytes"); }

  // Its text quotes what was read last, which may be the whole file.
  bool parse_error(std::size_t position, std::string const&, nlohmann::json::exception const& error) override {
    bool const is_encoding = std::string_view(error.what()).find("UTF-8") != std::string_view::npos;
    return refuse("byte " + std::to_string(position) + (is_encoding ? " is not UTF-8" : " is not JSON"));
  }

 private:
  // What is open, or expected next after a key.
  enum class Place : std::uint8_t {
    document,
    tensors,
    metadata_entry,
    metadata,
    entry,
    tensor,
    type_field,
    shape_field,
    shape,
    offsets_field,
    offsets
  };

  bool refuse(std::string const& what) {
    fault_ = "header: " + what;
    return false;
  }
  bool unexpected(std::string const& what) {
    bool const in_tensor = place_ >= Place::entry;
    bool const in_metadata = place_ == Place::metadata || place_ == Place::metadata_entry;
    return refuse((in_tensor ? tensor() + ": " : in_metadata ? "__metadata__: " : "") + what + " is not expected here");
  }
  std::string tensor() const { return "tensor " + in_quotes(header_.tensors.back().name); }

  bool begin_entry(std::string& name) {
    if (name == "__metadata__") {
      if (header_.metadata) return refuse("__metadata__ is there twice");
      header_.metadata.emplace();
      place_ = Place::metadata_entry;
      return true;
    }
    if (!header_.places.emplace(name, header_.tensors.size()).second) {
      return refuse("tensor " + in_quotes(name) + " is there twice");
    }
    header_.tensors.emplace_back().name = std::move(name);
    has_type_ = has_shape_ = has_offsets_ = false;
    offset_count_ = 0;
    place_ = Place::entry;
    return true;
  }
  bool begin_field(std::string const& name) {
    bool* const seen = name == "dtype"          ? &has_type_
                       : name == "shape"        ? &has_shape_
                       : name == "data_offsets" ? &has_offsets_
                                                : nullptr;
    if (!seen) return refuse(tensor() + ": key " + in_quotes(name) + " is none of the format's");
    if (std::exchange(*seen, true)) return refuse(tensor() + ": " + name + " is there twice");
    place_ = seen == &has_type_ ? Place::type_field : seen == &has_shape_ ? Place::shape_field : Place::offsets_field;
    return true;
  }

  SafetensorsHeader& header_;
  std::string fault_;
  std::set<std::string> metadata_keys_;
  Place place_ = Place::document;
  bool has_type_ = false, has_shape_ = false, has_offsets_ = false;  // of the last tensor
  std::size_t offset_count_ = 0;
};

}  // namespace foldnorm::detail
