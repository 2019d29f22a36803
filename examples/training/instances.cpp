// SPDX-License-Identifier: MIT
// Where the layers' products and kernels are compiled, for all examples and their tests: some forty seconds.
#include "attention.hpp"
#include "graph_network_steps.hpp"
#include "linear.hpp"
#include "norm.hpp"

namespace foldnorm::training {

template void Attention::forward(Attention::Operands<float> const&, Matrix<float>&, Matrix<float>&) const;
template void Attention::backward(Matrix<float> const&, Attention::Operands<float> const&, Matrix<float> const&,
                                  Attention::Gradients<float>) const;
template void Attention::forward(Attention::Operands<double> const&, Matrix<double>&, Matrix<double>&) const;
template void Attention::backward(Matrix<double> const&, Attention::Operands<double> const&, Matrix<double> const&,
                                  Attention::Gradients<double>) const;
template void Linear::forward(NamedMatrices<float> const&, ConstMatrixRef<float>, Matrix<float>&) const;
template void Linear::add_gradients(ConstMatrixRef<float>, Matrix<float> const&, NamedMatrices<float>&) const;
template void Linear::backward(NamedMatrices<float> const&, ConstMatrixRef<float>, Matrix<float> const&,
                               NamedMatrices<float>&, Matrix<float>&) const;
template void Linear::forward(NamedMatrices<double> const&, ConstMatrixRef<double>, Matrix<double>&) const;
template void Linear::add_gradients(ConstMatrixRef<double>, Matrix<double> const&, NamedMatrices<double>&) const;
template void Linear::backward(NamedMatrices<double> const&, ConstMatrixRef<double>, Matrix<double> const&,
                               NamedMatrices<double>&, Matrix<double>&) const;
template void Norm::forward(NamedMatrices<float> const&, Matrix<float> const&, Matrix<float>&, NormActivations<float>&,
                            Pass) const;
template void Norm::backward(Vector<float> const&, Matrix<float> const&, Matrix<float> const&,
                             NormActivations<float> const&, Matrix<float>&, OptionalOutput<float> const&,
                             OptionalOutput<float> const&) const;
template void Norm::forward(NamedMatrices<double> const&, Matrix<double> const&, Matrix<double>&,
                            NormActivations<double>&, Pass) const;
template void Norm::backward(Vector<double> const&, Matrix<double> const&, Matrix<double> const&,
                             NormActivations<double> const&, Matrix<double>&, OptionalOutput<double> const&,
                             OptionalOutput<double> const&) const;
template class GraphNetwork<float>;
template class GraphNetwork<double>;

}  // namespace foldnorm::training
