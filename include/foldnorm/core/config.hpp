// SPDX-License-Identifier: MIT
// foldnorm/core/config.hpp -- the library's version, and every switch that changes what it compiles to.
//
//   compiler's switch           what it does here
//   -march=..., -mavx2 -mfma    the width of packs and which instructions kernels are made of, chosen when compiling
//                               and never when running: a program for several kinds of machine compiles its unit of
//                               kernels once for each and calls the one that fits. Results differ by rounding.
//   -fopenmp                    columns are shared out over threads (core/parallel.hpp). Results do not change.
//   -fno-exceptions             a caller's mistake ends in a handler instead of an exception (core/errors.hpp)
//   -ffast-math,                refused (core/types.hpp): sums would lose the bounds of docs/numerics.md, and NaN its
//   -ffinite-math-only          meaning. -fassociative-math alone, which no macro shows, must not be used either.
//   -O0, g++'s                  no inlining is forced on the compiler, see FOLDNORM_INLINE below. For test and debug
//   -fsanitize=address,         builds: kernels take a half to a sixth of the time to compile, and with -O1 some 2.5
//   -DFOLDNORM_LEAVE_INLINING   times as long to run (with -O0 as long as ever)
//   -DNDEBUG                    the library's asserts (its own invariants, never a caller's mistakes) are left out
//   -DEIGEN_MAX_ALIGN_BYTES=n   Eigen's: with units of different -march in one program, give all of them the same n
//                               (64 serves all), or a matrix that one unit allocates is freed wrongly by another
//
// Flushing subnormal numbers to zero (-mdaz-ftz, _MM_SET_FLUSH_ZERO_MODE) is tolerated: docs/numerics.md.
#pragma once

#define FOLDNORM_VERSION_MAJOR 0
#define FOLDNORM_VERSION_MINOR 1
#define FOLDNORM_VERSION_PATCH 0

// Everything lives in an inline namespace that is named after the version and the switches above, which users need not
// spell. The linker keeps one copy of an inline function: without such a name a program with one unit for AVX-512 and
// one for any machine would run the first unit's code everywhere. Units that pass foldnorm's types to each other have
// to be compiled alike, which the linker now checks ("undefined reference to ... foldnorm::v0_1_avx2::...").
// What Eigen compiles to carries no such name: matrices' own expressions are still exposed.
#if defined(__AVX512F__)
#define FOLDNORM_INSTRUCTIONS _avx512
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define FOLDNORM_INSTRUCTIONS _avx2
#elif defined(__AVX__)
#define FOLDNORM_INSTRUCTIONS _avx
#elif defined(__aarch64__)
#define FOLDNORM_INSTRUCTIONS _neon
#else
#define FOLDNORM_INSTRUCTIONS _basic
#endif

#if defined(_OPENMP)
#define FOLDNORM_THREADS _openmp
#else
#define FOLDNORM_THREADS
#endif

#if defined(__cpp_exceptions)
#define FOLDNORM_ERRORS
#else
#define FOLDNORM_ERRORS _aborts
#endif

#define FOLDNORM_JOIN_EXPANDED(major, minor, instructions, threads, errors) \
  v##major##_##minor##instructions##threads##errors
#define FOLDNORM_JOIN(major, minor, instructions, threads, errors) \
  FOLDNORM_JOIN_EXPANDED(major, minor, instructions, threads, errors)
#define FOLDNORM_ABI                                                                                     \
  FOLDNORM_JOIN(FOLDNORM_VERSION_MAJOR, FOLDNORM_VERSION_MINOR, FOLDNORM_INSTRUCTIONS, FOLDNORM_THREADS, \
                FOLDNORM_ERRORS)

// For functions of packs, where a call would spill every register, and for the checks that every call makes.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(FOLDNORM_LEAVE_INLINING)
#define FOLDNORM_INLINE inline __attribute__((always_inline))
#define FOLDNORM_INLINE_LAMBDA __attribute__((always_inline))
#else
#define FOLDNORM_INLINE inline
#define FOLDNORM_INLINE_LAMBDA
#endif

namespace foldnorm::inline FOLDNORM_ABI {
namespace detail {}  // declared first here, so that `namespace foldnorm::detail` anywhere means this one
}  // namespace foldnorm::inline FOLDNORM_ABI
