// SPDX-License-Identifier: MIT
// training/convolution.hpp -- a 3x3 convolution is a linear map of every pixel's neighbourhood: gathers these (im2col),
// and adds their gradients back.
//
// Images are channels-last: channels x (side^2 n), a pixel is a column, row by row. The neighbourhood of an output
// pixel stacks the channels of its nine pixels, row by row, zeros outside the image: (9 channels) x (output_side^2 n).
#pragma once

#include <foldnorm/core/types.hpp>

namespace foldnorm::training {

struct Neighbourhoods {
  Index side = 1;    // of the square input images, in pixels
  Index stride = 1;  // between output pixels

  Index output_side() const { return (side - 1) / stride + 1; }

  // x: channels x (side^2 n); neighbourhoods: (9 channels) x (output_side^2 n), resized.
  template <real_scalar Scalar>
  void gather(ConstMatrixRef<Scalar> const& x, Matrix<Scalar>& neighbourhoods) const {
    Index const channels = x.rows(), images = x.cols() / (side * side);
    neighbourhoods.resize(9 * channels, images * output_side() * output_side());
    visit(images, [&](Index output, Index place, Index input) {
      auto target = neighbourhoods.col(output).segment(place * channels, channels);
      if (input == outside) {
        target.setZero();
      } else {
        target = x.col(input);
      }
    });
  }

  // The adjoint: dx (channels x (side^2 n), resized) gets the sum over the neighbourhoods that a pixel is in.
  template <real_scalar Scalar>
  void scatter(Matrix<Scalar> const& dneighbourhoods, Matrix<Scalar>& dx) const {
    Index const channels = dneighbourhoods.rows() / 9;
    Index const images = dneighbourhoods.cols() / (output_side() * output_side());
    dx.setZero(channels, images * side * side);
    visit(images, [&](Index output, Index place, Index input) {
      if (input != outside) dx.col(input) += dneighbourhoods.col(output).segment(place * channels, channels);
    });
  }

 private:
  static constexpr Index outside = -1;

  // use(column of the output pixel, place in its neighbourhood, column of the input pixel or `outside`).
  template <class Use>
  void visit(Index images, Use const& use) const {
    Index output = 0;
    for (Index image = 0; image < images; ++image) {
      for (Index row = 0; row < output_side(); ++row) {
        for (Index column = 0; column < output_side(); ++column, ++output) {
          for (Index place = 0; place < 9; ++place) {
            Index const y = stride * row + place / 3 - 1, x = stride * column + place % 3 - 1;
            bool const inside = y >= 0 && y < side && x >= 0 && x < side;
            use(output, place, inside ? (image * side + y) * side + x : outside);
          }
        }
      }
    }
  }
};

}  // namespace foldnorm::training
