// SPDX-License-Identifier: MIT
// foldnorm/kernels/norm_statistics.hpp -- what a norm's forward keeps of every sample for its backward.
//
//   xhat = ((x * scale - mean_high) - mean_low) * inverse_deviation
//
// in that order of operations. The words are doubles for both scalars: a mean rounded to float costs |mean| * rstd ulps
// of the result, and the reciprocal deviation of a subnormal float sample does not fit a float.
#pragma once

#include <foldnorm/core/types.hpp>

#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct SampleStatistics {
  double mean_high = 0;  // mean of x * scale, in two words; both 0 in an RMS norm
  double mean_low = 0;
  double inverse_deviation = 0;  // 1 / sqrt(moment of x * scale + eps * scale^2); 0 where xhat is 0 by definition
  double scale = 1;              // power of two; differs from 1 only for double samples near the ends of the range
  bool exact = false;            // found by arithmetic in double, because the sample left the range of the fast mode
};

// Sized and filled by a forward; a backward takes it together with the x of that forward. One per sample: per column,
// or per group of norm_size features, column by column. Filling it again for the same shape allocates nothing.
template <storage_scalar Scalar>
struct NormStatistics {
  Index features = 0;
  Index norm_size = 0;
  std::vector<SampleStatistics> samples;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
