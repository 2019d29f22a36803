// SPDX-License-Identifier: MIT
// tests/main.cpp -- the entry point that every test executable shares; built once, because Catch2 2 is slow to compile.
#define CATCH_CONFIG_RUNNER
#include "catch.hpp"

int main(int argument_count, char* arguments[]) { return Catch::Session().run(argument_count, arguments); }
