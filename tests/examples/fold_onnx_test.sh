#!/usr/bin/env bash
# fold_onnx_test.sh FOLD_ONNX WRITE_MODELS [MODEL]: exit status, bytes and what is left behind. WRITE_MODELS: the program of
# write_onnx_models.cpp. MODEL: one whose norm has its mean as an output, as ONNX's own test of LayerNormalization has.
set -uo pipefail
fold_onnx=$1 write_models=$2 model=${3:-}
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

same() { cmp "$1" "$2" || { echo "FAILED: $1 and $2 differ"; failures=$((failures + 1)); }; }
"$write_models" . || failures=$((failures + 1))
# Norms that would become more operators are kept.
expect 'fused norms' 3 '2 norms are kept that would be slower: --all folds them, too' "$fold_onnx" inside.onnx kept.onnx
same inside.onnx kept.onnx
expect 'all the same' 0 'folded 2 of 2' "$fold_onnx" inside.onnx folded.onnx --all --no-timing
expect 'a beta that stays' 3 "keep LayerNormalization 'n1': its beta would cost an operator of its own" \
  "$fold_onnx" inside.onnx kept.onnx --target onnxruntime
expect 'a beta that moves' 0 'folded 1 of 2' "$fold_onnx" inside.onnx folded.onnx --target onnxruntime --fold-affine --no-timing
expect 'what is folded' 3 'folded 0 of 1' "$fold_onnx" folded.onnx again.onnx --target onnxruntime --fold-affine
same folded.onnx again.onnx
FOLDNORM_ONNXRUNTIME=/nowhere \
  expect 'no runtime' 0 'not certified: ONNX Runtime was not found' "$fold_onnx" inside.onnx folded.onnx --all
expect 'no certificate' 0 'not certified: --no-certificate' "$fold_onnx" inside.onnx folded.onnx --all --no-certificate
expect 'files behind an option' 0 'folded 2 of 2' "$fold_onnx" --dimension n=3 inside.onnx folded.onnx --all --no-certificate
expect 'a range that is none' 2 "'ids': expected" "$fold_onnx" inside.onnx new.onnx --all --range ids
expect 'no name' 2 "name is empty" "$fold_onnx" inside.onnx new.onnx --report ''
if "$fold_onnx" inside.onnx folded.onnx --all --no-timing | grep -q '^difference'; then  # ONNX Runtime is there
  expect 'a range of no integers' 2 'no integers from 0 to 1' "$fold_onnx" inside.onnx new.onnx --all --range x=0:1
  expect 'a dimension of nothing' 2 "no dimension 'n'" "$fold_onnx" inside.onnx new.onnx --all --dimension n=3
fi
absent new.onnx
expect 'a full disk' 2 'standard output cannot be written' \
  sh -c '"$0" inside.onnx folded.onnx --all --no-certificate > /dev/full' "$fold_onnx"
# External data: beside the output, with it into another folder, and over what was there.
mkdir other
expect 'data outside' 0 'folded 2 of 2' "$fold_onnx" outside.onnx folded.onnx --all --no-timing
[ -s folded.onnx.data ] || { echo 'FAILED: no data'; failures=$((failures + 1)); }
expect 'another folder' 0 'folded 2 of 2' "$fold_onnx" outside.onnx other/outside.onnx --all --no-timing
expect 'in place' 0 'folded 2 of 2' "$fold_onnx" outside.onnx outside.onnx --all --no-timing
same outside.onnx other/outside.onnx
same outside.onnx.data other/outside.onnx.data
cp outside.onnx kept.onnx
expect 'a report over the model' 2 'written over' "$fold_onnx" outside.onnx new.onnx --all --no-timing --report ./outside.onnx
expect 'a drawing over a tensor' 2 'written over' "$fold_onnx" outside.onnx new.onnx --all --no-timing --dot outside.onnx.data
same outside.onnx kept.onnx
absent new.onnx
expect 'folded, with data' 3 'folded 0 of 0' "$fold_onnx" outside.onnx other/again.onnx --all
same outside.onnx other/again.onnx
expect 'data that are gone' 2 'outside.onnx.data' sh -c 'rm other/*; rm outside.onnx.data; "$0" outside.onnx other/x.onnx' "$fold_onnx"
[ -z "$(ls other)" ] || { echo 'FAILED: left behind:'; ls other; failures=$((failures + 1)); }
[ -z "$(find . -name '*.partial*')" ] || { echo 'FAILED: unfinished files'; failures=$((failures + 1)); }
rm -f folded.onnx

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
