// SPDX-License-Identifier: MIT
// tests/laws/allocations.hpp -- counts what a call allocates. Included first and once in an executable of its own:
// operator new is replaced, and Eigen reports its own malloc through an assertion.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace foldnorm::laws {
inline std::size_t allocations = 0;
}  // namespace foldnorm::laws

#ifdef EIGEN_CORE_H
#error "laws/allocations.hpp must come before Eigen"
#endif
#define EIGEN_RUNTIME_NO_MALLOC
#define eigen_assert(condition) ((condition) ? void() : void(++foldnorm::laws::allocations))
#include <Eigen/Core>

// Not inlined: g++ 12 would see free() of what it knows to come from operator new, or delete of what it sees to come
// from malloc(), and warn.
__attribute__((noinline)) void* operator new(std::size_t size) {
  ++foldnorm::laws::allocations;
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
// This one, too: else a sanitizer brings its own.
__attribute__((noinline)) void* operator new(std::size_t size, std::nothrow_t const&) noexcept {
  ++foldnorm::laws::allocations;
  return std::malloc(size > 0 ? size : 1);
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace foldnorm::laws {

template <class Call>
std::size_t allocations_of(Call call) {
  Eigen::internal::set_is_malloc_allowed(false);
  std::size_t const before = allocations;
  call();
  std::size_t const result = allocations - before;
  Eigen::internal::set_is_malloc_allowed(true);
  return result;
}

}  // namespace foldnorm::laws
