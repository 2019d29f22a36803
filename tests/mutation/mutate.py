#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plants the mistakes of mistakes.py, one by one, in a copy of the headers, and runs the test that should notice.

mutate.py BUILD_FOLDER [WORD...]   only mistakes whose line has one of the words
mutate.py --check                  only whether each has its place in the headers
Exit 1 unless every mistake is noticed and every test passes without one."""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

from mistakes import MISTAKES

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLAGS = ["-std=c++20", "-O0", "-march=native", "-w", "-DFOLDNORM_TEST_FILE_ALONE", "-DONNX_ML=1", "-DONNX_NAMESPACE=onnx",
         f'-DFOLDNORM_GOLDEN_DIRECTORY="{ROOT}/tests/golden"', "-isystem", "/usr/include/eigen3", f"-I{ROOT}/tests",
         f"-I{ROOT}/examples"]
COMPILER = os.environ.get("CXX", "g++")


def run(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def passes(include, test, folder, main):
    """Whether the test file compiles against these headers and passes; and if not, which of the two."""
    program = folder / "test"
    libraries = ["-lonnx_proto", "-lprotobuf"] if test.startswith("onnx/") else []
    built = run([COMPILER, *FLAGS, f"-I{include}", str(ROOT / "tests" / test), str(main), *libraries, "-o", str(program)])
    if built.returncode != 0:
        return False, "does not compile: " + built.stderr.strip().split("\n")[0][-200:]
    try:
        return run([str(program)]).returncode == 0, "a test fails"
    except subprocess.TimeoutExpired:
        return False, "does not end"


def misplaced():
    for _, header, _, original, _ in MISTAKES:
        count = (ROOT / "include/foldnorm" / header).read_text().count(original)
        if count != 1:
            yield f"mistakes.py: {header} has {count} times, expected once: {original}"


def with_mistake(build, number, mistake, main):
    _, header, test, original, changed = mistake
    folder = build / f"mistake{number}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "include", folder / "include")
    path = folder / "include/foldnorm" / header
    path.write_text(path.read_text().replace(original, changed))
    good, how = passes(folder / "include", test, folder, main)
    shutil.rmtree(folder)
    return "SURVIVES" if good else how


def without_mistake(build, number, test, main):
    folder = build / f"original{number}"
    folder.mkdir(parents=True, exist_ok=True)
    good, how = passes(ROOT / "include", test, folder, main)
    shutil.rmtree(folder)
    return "" if good else f"{test}, without a mistake: {how}"


def main():
    wrong = list(misplaced())
    if wrong or sys.argv[1] == "--check":
        sys.exit("\n".join(wrong) or 0)
    build = pathlib.Path(sys.argv[1]).resolve()
    words = sys.argv[2:]
    chosen = [m for m in MISTAKES if not words or any(w in " ".join(m[:3]) for w in words)]
    build.mkdir(parents=True, exist_ok=True)
    runner = build / "main.o"
    subprocess.run([COMPILER, "-std=c++20", "-O0", f"-I{ROOT}/tests", "-c", str(ROOT / "tests/main.cpp"), "-o", str(runner)],
                   check=True)
    # A link or static_assert that fails in the original too would count as noticed: so the originals come first.
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("FOLDNORM_JOBS", "2"))) as pool:
        tests = sorted({m[2] for m in chosen})
        broken = [b for b in pool.map(lambda t: without_mistake(build, t[0], t[1], runner), enumerate(tests)) if b]
        if broken:
            sys.exit("\n".join(broken))
        outcomes = list(pool.map(lambda m: with_mistake(build, m[0], m[1], runner), enumerate(chosen)))
    for mistake, outcome in zip(chosen, outcomes):
        print(f"{mistake[0]:<58} {mistake[2]:<42} {outcome}")
    noticed = sum(outcome != "SURVIVES" for outcome in outcomes)
    print(f"{noticed} of {len(chosen)} mistakes noticed")
    sys.exit(noticed != len(chosen))


main()
