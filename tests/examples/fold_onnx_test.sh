#!/usr/bin/env bash
# fold_onnx_test.sh FOLD_ONNX [MODEL]: exit status, bytes and what is left behind where nothing can be folded. MODEL: one
# whose norm has its mean as an output, as ONNX's own test of LayerNormalization has.
set -uo pipefail
fold_onnx=$1 model=${2:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
failures=0
expect() {  # NAME STATUS MESSAGE COMMAND...
  local name=$1 status=$2 message=$3
  shift 3
  "$@" > out.txt 2> err.txt
  local actual=$?
  [ $actual -eq "$status" ] && grep -qF -- "$message" out.txt err.txt && return
  echo "FAILED: $name: status $actual (expected $status)"
  cat out.txt err.txt
  failures=$((failures + 1))
}
absent() { [ ! -e "$1" ] || { echo "FAILED: $1 was written"; failures=$((failures + 1)); }; }

expect 'a missing file' 2 'nothing.onnx: cannot be opened' "$fold_onnx" nothing.onnx folded.onnx
absent folded.onnx
head -c 100 /dev/urandom > noise.onnx
expect 'noise' 2 'noise.onnx: ' "$fold_onnx" noise.onnx folded.onnx
absent folded.onnx
expect 'two ways with tied tables' 2 'untie' "$fold_onnx" a.onnx b.onnx --untie --correct-tied
expect 'an unknown target' 2 'target' "$fold_onnx" a.onnx b.onnx --target nobody
if [ -n "$model" ]; then
  expect 'nothing to fold' 3 'folded 0 of' "$fold_onnx" "$model" same.onnx --report report.txt
  cmp "$model" same.onnx || failures=$((failures + 1))
  cmp out.txt report.txt || failures=$((failures + 1))
  head -c 60 "$model" > cut.onnx
  expect 'a truncated model' 2 'cut.onnx: ' "$fold_onnx" cut.onnx folded.onnx
  absent folded.onnx
  expect 'an unwritable place' 2 'cannot be written' "$fold_onnx" "$model" /nowhere/folded.onnx
fi
[ "$failures" -eq 0 ] && echo 'all as expected'
exit "$failures"
