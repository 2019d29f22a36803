// SPDX-License-Identifier: MIT
// foldnorm/onnx/constants.hpp -- numbers that an ONNX graph has as constants: an epsilon, an exponent, axes.
#pragma once

#include <foldnorm/onnx/model_index.hpp>
#include <foldnorm/onnx/tensor_values.hpp>

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

class OnnxConstants {
 public:
  // Neither argument is owned.
  OnnxConstants(OnnxFile const& file, OnnxIndex const& index) : file_(file), index_(index) {}

  // A constant of one element, by way of casts between floating-point types and identities. Empty if it is none. Throws
  // onnx_error as read_tensor does.
  std::optional<double> scalar(std::string const& value) const {
    std::string const source = original(value);
    if (auto const* const tensor = index_.constant(source)) {
      if (element_count(*tensor) != 1U) return std::nullopt;
      if (auto const integers = integers_of(*tensor)) return static_cast<double>(integers->front());
      if (!is_weight_type(tensor->data_type())) return std::nullopt;
      return std::visit([](auto const& m) { return static_cast<double>(m(0, 0)); },
                        read_tensor(*tensor, {.rows = 1}, file_));
    }
    if (auto const* const attribute = constant_attribute(source, "value_float")) return attribute->f();
    if (auto const* const attribute = constant_attribute(source, "value_int")) {
      return static_cast<double>(attribute->i());
    }
    return std::nullopt;
  }

  // A constant vector of a type that weights have.
  std::optional<Vector<double>> numbers(std::string const& value) const {
    auto const* const tensor = index_.constant(value);
    bool const is_vector = tensor && tensor->dims_size() == 1 && is_weight_type(tensor->data_type()) &&
                           element_count(*tensor).value_or(0) > 0;
    if (!is_vector) return std::nullopt;
    return std::visit([](auto const& m) { return Vector<double>(m.col(0).template cast<double>()); },
                      read_tensor(*tensor, {.rows = static_cast<Index>(tensor->dims(0))}, file_));
  }

  // A constant of integers, as axes and shapes are; a single one counts as a list of one.
  std::optional<std::vector<std::int64_t>> integers(std::string const& value) const {
    std::string const source = original(value);
    if (auto const* const tensor = index_.constant(source)) return integers_of(*tensor);
    if (auto const* const attribute = constant_attribute(source, "value_ints")) {
      return std::vector<std::int64_t>(attribute->ints().begin(), attribute->ints().end());
    }
    if (auto const* const attribute = constant_attribute(source, "value_int")) return std::vector{attribute->i()};
    return std::nullopt;
  }

  // What an attribute says up to some opset, and an input from it on. Empty where neither is there, or the input is no
  // constant; `given` tells the two apart.
  struct Integers {
    bool given = false;
    std::optional<std::vector<std::int64_t>> values;
  };
  Integers attribute_or_input(::onnx::NodeProto const& node, std::string_view name, int input) const {
    if (auto const* const attribute = find_attribute(node, name)) {
      return {true, std::vector<std::int64_t>(attribute->ints().begin(), attribute->ints().end())};
    }
    if (std::string const value = input_of(node, input); !value.empty()) return {true, integers(value)};
    return {};
  }

  // The value behind identities and casts of constants.
  std::string original(std::string value) const {
    std::vector<std::string> passed;
    for (int n = index_.producer(value); n != OnnxIndex::nobody; n = index_.producer(value)) {
      if (auto const known = originals_.find(value); known != originals_.end()) {
        value = known->second;
        break;
      }
      auto const& node = index_.node(n);
      bool const passes = node.op_type() == "Identity" || node.op_type() == "Cast";
      if (!passes || !index_.is_standard(node) || node.input_size() != 1) break;
      passed.push_back(value);
      value = node.input(0);
    }
    for (auto const& name : passed) originals_.emplace(name, value);
    return value;
  }

 private:
  static constexpr std::uint64_t most_integers = 1024;  // of axes, starts, shapes

  ::onnx::AttributeProto const* constant_attribute(std::string const& value, char const* name) const {
    int const n = index_.producer(value);
    if (n == OnnxIndex::nobody || index_.node(n).op_type() != "Constant") return nullptr;
    return find_attribute(index_.node(n), name);
  }

  std::optional<std::vector<std::int64_t>> integers_of(::onnx::TensorProto const& tensor) const {
    bool const is_wide = tensor.data_type() == ::onnx::TensorProto::INT64;
    if (!is_wide && tensor.data_type() != ::onnx::TensorProto::INT32) return std::nullopt;
    auto const count = element_count(tensor);
    if (!count || *count > most_integers || tensor.dims_size() > 1) return std::nullopt;
    std::vector<std::int64_t> result(*count);
    auto const take = [&]<class Integer>(Integer, auto const& elements) {
      bool const is_raw = tensor.has_raw_data() || detail::is_external(tensor);
      std::uint64_t const bytes = *count * sizeof(Integer);
      std::string const raw = detail::is_external(tensor) ? detail::external_bytes(tensor, bytes, file_)
                              : is_raw                    ? tensor.raw_data()
                                                          : std::string();
      std::uint64_t const has = is_raw ? raw.size() : static_cast<std::uint64_t>(elements.size()) * sizeof(Integer);
      if (has != bytes) {
        detail::fail_tensor(tensor, file_,
                            std::to_string(has) + " bytes, expected " + std::to_string(bytes) + " by its shape");
      }
      for (std::size_t i = 0; i < result.size(); ++i) {
        Integer element = 0;
        if (is_raw) std::memcpy(&element, raw.data() + i * sizeof(Integer), sizeof(Integer));
        result[i] = is_raw ? element : elements.Get(static_cast<int>(i));
      }
    };
    is_wide ? take(std::int64_t(), tensor.int64_data()) : take(std::int32_t(), tensor.int32_data());
    return result;
  }

  OnnxFile const& file_;
  OnnxIndex const& index_;
  // Asked for before, so that a chain of identities with a reader of each is walked once. Not for several threads.
  mutable std::unordered_map<std::string, std::string> originals_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
