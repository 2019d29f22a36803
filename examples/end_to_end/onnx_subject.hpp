// SPDX-License-Identifier: MIT
// end_to_end/onnx_subject.hpp -- an ONNX model in ONNX Runtime as time_folds runs it: once, or with its norms repeated.
#pragma once

#include "onnx/model_inputs.hpp"
#include "onnx/onnx_runtime.hpp"
#include "onnx/repeat_norms.hpp"

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace foldnorm::end_to_end {

class OnnxSubject {
 public:
  // `data_folder`: of external data. Without `extra`, run(1) is all that it can do. Throws as onnx_runtime::Session and
  // onnx_models::model_inputs do.
  OnnxSubject(onnx::ModelProto model, onnx_models::InputOptions const& inputs, int threads, int extra,
              std::string const& data_folder) {
    // Threads of one session do not spin while another one is being timed.
    onnx_runtime::SessionOptions const options{.threads = threads, .spin = false, .data_folder = data_folder};
    loaded_.emplace_back(model, inputs, options);
    if (extra == 0) return;
    norms_ = onnx_models::repeat_norms(*model.mutable_graph(), extra);
    loaded_.emplace_back(model, inputs, options);
  }

  // Precondition: norm_repetitions is 1, or 1 + extra.
  void run(int norm_repetitions) { loaded_[norm_repetitions == 1 ? 0 : 1].call.run(); }

  int norms() const { return norms_; }  // that it can repeat
  std::vector<onnx_runtime::Tensor> outputs() const {
    std::vector<onnx_runtime::Tensor> results;
    for (std::size_t i = 0; i < loaded_[0].outputs; ++i) results.push_back(loaded_[0].call.result(i));
    return results;
  }

 private:
  struct Loaded {
    Loaded(onnx::ModelProto const& model, onnx_models::InputOptions const& options,
           onnx_runtime::SessionOptions const& session_options)
        : session(onnx_runtime::Session::from_bytes(model.SerializeAsString(), session_options)),
          inputs(onnx_models::model_inputs(session.inputs(), options)),
          call(session) {
      for (auto& [name, value] : inputs) call.input(name, value.type, value.shape, value.bytes.data());
      for (onnx_runtime::TensorInfo const& info : session.outputs()) {
        call.output(info.name);
        ++outputs;
      }
      call.run();  // so that its memory is there
    }

    onnx_runtime::Session session;
    std::map<std::string, onnx_runtime::Tensor> inputs;  // the call reads them where they are
    onnx_runtime::Call call;
    std::size_t outputs = 0;
  };

  std::vector<Loaded> loaded_;  // as it is, and with its norms repeated
  int norms_ = 0;
};

}  // namespace foldnorm::end_to_end
