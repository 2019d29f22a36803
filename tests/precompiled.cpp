// SPDX-License-Identifier: MIT
// Holds the headers that all tests share, precompiled.
