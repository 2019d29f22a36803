// SPDX-License-Identifier: MIT
// foldnorm/core/errors.hpp -- how a mistake of the caller ends a call: with an exception, or, in a program that is
// compiled without them (-fno-exceptions), with a handler.
#pragma once

#include <foldnorm/core/config.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

// Outside of the library's inline namespace: one handler for all units of a program, however they are compiled.
namespace foldnorm::process_wide {

inline void print_error(std::exception const& error) { std::fprintf(stderr, "foldnorm: %s\n", error.what()); }
inline void (*error_handler)(std::exception const& error) = print_error;

}  // namespace foldnorm::process_wide

namespace foldnorm::inline FOLDNORM_ABI {

// Called where an exception would be thrown, with that exception, if the program has none. It must not return: if it
// does, the program is aborted. Has no effect where exceptions are enabled.
using ErrorHandler = void (*)(std::exception const& error);

// Returns the handler before. At first, messages go to standard error. Not to be called while other threads use the
// library.
inline ErrorHandler set_error_handler(ErrorHandler handler) {
  return std::exchange(process_wide::error_handler, handler);
}

namespace detail {

// Cold, as a throw is: callers put their messages together out of the way of their work.
template <class Error>
[[noreturn]] __attribute__((cold, noinline)) void raise(std::string const& what) {
#if defined(__cpp_exceptions)
  throw Error(what);
#else
  process_wide::error_handler(Error(what));
  std::abort();
#endif
}

// Does the action; what it throws of this kind is given to `translate`, which raises something that says more.
template <class Error, class Action, class Translate>
void translate_errors(Action const& action, [[maybe_unused]] Translate const& translate) {
#if defined(__cpp_exceptions)
  try {
    action();
  } catch (Error const& error) {
    translate(error);
  }
#else
  action();
#endif
}

}  // namespace detail

}  // namespace foldnorm::inline FOLDNORM_ABI
