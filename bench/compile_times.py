#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What including a header costs a file that uses nothing of it, beside Eigen's own headers.

compile_times.py [ROUNDS]   5 if not said. CXX: the compiler, g++ if not said

Processor seconds (user and system) of one compilation with -O0, which all headers take in turns: the least of all
rounds, as the work is always the same and a neighbour's load can only add to it."""

import os
import pathlib
import resource
import subprocess
import sys
import tempfile

INCLUDE = pathlib.Path(__file__).resolve().parents[1] / "include"
EIGEN = subprocess.run(["pkg-config", "--cflags-only-I", "eigen3"], capture_output=True, text=True, check=True)
COMPILE = [os.environ.get("CXX", "g++"), "-std=c++20", "-O0", f"-I{INCLUDE}",
           *EIGEN.stdout.replace("-I", "-isystem").split(), "-c"]


def compile_seconds(header, folder):
    source = folder / "including.cpp"
    source.write_text(f"#include <{header}>\n")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*COMPILE, source, "-o", folder / "including.o"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def headers_of(room):
    return sorted(str(path.relative_to(INCLUDE)) for path in (INCLUDE / "foldnorm" / room).glob("*.hpp"))


def show_progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    headers = ["Eigen/Core", "Eigen/Dense", *headers_of("kernels"), "foldnorm/fold/centering.hpp",
               "foldnorm/layers/sequential.hpp", "foldnorm/whitening/iter_norm.hpp", "foldnorm/graph/graph.hpp",
               "foldnorm/foldnorm.hpp"]
    seconds = {header: [] for header in headers}
    with tempfile.TemporaryDirectory() as folder:
        for done in range(rounds):
            for header in headers:
                show_progress(f"round {done + 1} of {rounds}: {header}")
                seconds[header].append(compile_seconds(header, pathlib.Path(folder)))
    show_progress("")
    least = {header: min(of_header) for header, of_header in seconds.items()}
    print("| header | processor seconds | of Eigen/Core | of Eigen/Dense |\n|---|---|---|---|")
    for header in headers:
        ratios = (least[header] / least["Eigen/" + name] for name in ("Core", "Dense"))
        print(f"| {header} | {least[header]:.2f} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")


if __name__ == "__main__":
    main()
