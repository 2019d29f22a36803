#!/usr/bin/env bash
# tests/examples/fold_graph_test.sh FOLD_GRAPH -- the command-line tool's lines, options, messages and exit statuses.
set -uo pipefail
fold_graph=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

# expect NAME STATUS STDOUT STDERR COMMAND...   (STDERR is a pattern; empty means nothing may be printed there)
expect() {
  local name=$1 status=$2 out=$3 err=$4
  shift 4
  local actual_out actual_err actual_status
  actual_out=$("$@" 2> err.txt)
  actual_status=$?
  actual_err=$(< err.txt)
  if [ "$actual_status" -ne "$status" ] || [ "$actual_out" != "$out" ] ||
    { [ -z "$err" ] && [ -n "$actual_err" ]; } || [[ "$actual_err" != *"$err"* ]]; then
    printf 'FAILED: %s\nstatus %s (expected %s)\nstdout: %s\nexpected: %s\nstderr: %s\nexpected: %s\n\n' \
      "$name" "$actual_status" "$status" "$actual_out" "$out" "$actual_err" "$err"
    failures=$((failures + 1))
  fi
}

cat > mlp.graph <<'GRAPH'
# Linear -> LayerNorm -> ReLU, then a norm behind the activation
input x features=4
linear fc1 x out=8 weight=W1 bias=b1
layer_norm ln1 fc1 gamma=g1 beta=c1
relu r ln1
layer_norm ln2 r
linear fc2 ln2 out=3 weight=W2
output y fc2
GRAPH
mlp_lines='fold ln1
keep ln2 nonlinear r
center W1
center b1'
printf 'input x features=4\r\nlinear f x out=4 weight=W\r\ndropout d f p=0.1\r\nlayer_norm n d groups=2\r\noutput y n\r\n' > dropout.graph
printf 'input x features=4\nlinear f x out=0 weight=W\noutput y f\n' > bad.graph
printf 'input x features=4\nopaque o x features=4\nlayer_norm n o\noutput y n\n' > opaque.graph
printf 'ids t vocab=7\nembedding e t features=4 table=E\nlayer_norm n e\nlinear h n out=7 weight=E\noutput y h\n' > tied.graph
printf 'input x features=4\nlinear f x out=4 weight=W\nlayer_norm n f gamma=g beta=b\nlinear h n out=4 weight=V\nrms_norm m h gamma=c\nrelu r m\noutput y r\n' > affine.graph
printf 'input x features=4\nrelu a x\nlayer_norm n a\nlayer_norm m a\noutput y n\noutput z m\n' > centered.graph

expect 'verdict lines' 0 "$mlp_lines" '' "$fold_graph" mlp.graph
expect 'intervals, CR LF' 0 $'fold n\ncenter W 0:2 2:4' '' "$fold_graph" dropout.graph
expect 'training mode' 0 'keep n dropout d' '' "$fold_graph" --training dropout.graph
expect 'several files' 0 "# mlp.graph
$mlp_lines
# dropout.graph
fold n
center W 0:2 2:4" '' "$fold_graph" mlp.graph dropout.graph
expect 'a malformed file' 2 '' 'bad.graph:2: linear f: out=0' "$fold_graph" bad.graph
expect 'the others are still processed' 2 "# mlp.graph
$mlp_lines" 'bad.graph:2:' "$fold_graph" bad.graph mlp.graph
expect 'a missing file' 2 '' 'nothing.graph:1:' "$fold_graph" nothing.graph
expect 'a folder' 2 '' '.:1:' "$fold_graph" .
expect 'no file' 2 '' 'FILE' "$fold_graph"
expect 'an unknown option' 2 '' 'nonsense' "$fold_graph" --nonsense mlp.graph
expect 'tied by default' 0 'keep n tied h' '' "$fold_graph" tied.graph
expect 'untied' 0 $'fold n\ncenter E' '' "$fold_graph" --untie tied.graph
expect 'corrected' 0 $'fold n\ncenter E\ncorrect h E' '' "$fold_graph" --correct-tied tied.graph
expect 'corrected or untied' 2 '' 'untie' "$fold_graph" --correct-tied --untie tied.graph
expect 'gammas and betas stay unless asked for' 0 $'fold n\ncenter W' '' "$fold_graph" affine.graph
expect 'gammas and betas' 0 $'fold n\ncenter W\naffine n\nkeep_affine m read_unforgiven r' '' "$fold_graph" --affine affine.graph
expect 'gammas and betas in training' 2 '' 'affine' "$fold_graph" --affine --training affine.graph
expect 'centers are inserted only where asked for' 0 $'keep n nonlinear a\nkeep m nonlinear a' '' "$fold_graph" centered.graph
expect 'an inserted center' 0 $'fold n\nfold m\ninsert a' '' "$fold_graph" --insert-centering centered.graph
expect 'no center that pays' 0 "$mlp_lines
# nothing worth inserting" '' "$fold_graph" --insert-centering mlp.graph
expect 'cannot be evaluated: the verdicts stand' 2 'keep n unknown o' 'opaque o' "$fold_graph" --evaluate opaque.graph

evaluated=$("$fold_graph" --evaluate --tokens 3 --seed 7 mlp.graph) || failures=$((failures + 1))
grep -qE '^difference y [0-9.e+-]+ [0-9.e+-]+$' <<< "$evaluated" || { echo "FAILED: no difference line"; failures=$((failures + 1)); }
grep -qE '^mean ln1 [0-9.e+-]+$' <<< "$evaluated" || { echo "FAILED: no mean line"; failures=$((failures + 1)); }
[ "$evaluated" = "$("$fold_graph" --evaluate --tokens 3 --seed 7 mlp.graph)" ] || { echo "FAILED: not repeatable"; failures=$((failures + 1)); }

"$fold_graph" --affine --evaluate affine.graph > /dev/null || { echo "FAILED: a moved affine differs"; failures=$((failures + 1)); }

"$fold_graph" --correct-tied --evaluate tied.graph > /dev/null || { echo "FAILED: a corrected head differs"; failures=$((failures + 1)); }
"$fold_graph" --insert-centering --evaluate centered.graph > /dev/null || { echo "FAILED: an inserted center differs"; failures=$((failures + 1)); }

"$fold_graph" --dot mlp.dot mlp.graph > /dev/null && grep -q 'stays: nonlinear r' mlp.dot || { echo "FAILED: drawing"; failures=$((failures + 1)); }
"$fold_graph" --dot /nowhere/mlp.dot mlp.graph > out.txt 2> err.txt
{ [ $? -eq 2 ] && grep -q 'nowhere' err.txt && [ "$(< out.txt)" = "$mlp_lines" ]; } || { echo "FAILED: unwritable drawing"; failures=$((failures + 1)); }

cp mlp.graph kept.graph
"$fold_graph" --dot ./mlp.graph mlp.graph > out.txt 2> err.txt
{ [ $? -eq 2 ] && grep -q 'written over' err.txt && cmp -s mlp.graph kept.graph; } || { echo "FAILED: a drawing over its graph"; failures=$((failures + 1)); }

# --- weights ---------------------------------------------------------------------------------------------------------

# check NAME COMMAND...
check() {
  local name=$1
  shift
  "$@" || { echo "FAILED: $name"; failures=$((failures + 1)); }
}
# write_tensors FILE HEADER BYTES: a safetensors file; every four bytes of the data are a float between 4e-8 and 0.75
write_tensors() {
  local length=${#2}
  {
    printf "\\$(printf %03o $((length % 256)))\\$(printf %03o $((length / 256)))\\0\\0\\0\\0\\0\\0"
    printf %s "$2"
    yes '0123456789:;<=>?>' | tr -d '\n' | head -c "$3"
  } > "$1"
}
tensor() { printf '"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%s]}' "$1" "$2" "$3" "$4"; }

mlp_tensors="$(tensor W1 F32 8,4 0,128),$(tensor b1 F32 8 128,160),$(tensor g1 F32 8 160,192),$(tensor c1 F32 8 192,224)"
write_tensors mlp.safetensors "{\"__metadata__\":{\"format\":\"pt\"},$mlp_tensors,$(tensor W2 F32 3,8 224,320),$(tensor step I64 1 320,328)}" 328
write_tensors missing.safetensors "{$mlp_tensors}" 224
write_tensors swapped.safetensors "{$mlp_tensors,$(tensor W2 F32 8,3 224,320)}" 320
head -c 300 mlp.safetensors > cut.safetensors

expect 'verdict lines with weights' 0 "$mlp_lines" '' "$fold_graph" mlp.graph --parameters mlp.safetensors --write out.safetensors --write-graph out.graph
check 'the folded graph' [ "$(< out.graph)" = 'input x features=4
linear fc1 x out=8 weight=W1 bias=b1
rms_norm ln1 fc1 gamma=g1 beta=c1
relu r ln1
layer_norm ln2 r
linear fc2 ln2 out=3 weight=W2
output y fc2' ]
# 8 bytes of length and 331 of header, then W1 and b1, which change, and the others, which do not.
header_end=$((8 + $(od -An -tu8 -N8 mlp.safetensors)))
check 'the header is the same' cmp -n "$header_end" mlp.safetensors out.safetensors
check 'centered weights are others' eval '! cmp -s -i "$header_end" -n 160 mlp.safetensors out.safetensors'
check 'the rest is the same' cmp -i "$((header_end + 160))" mlp.safetensors out.safetensors
"$fold_graph" mlp.graph --parameters out.safetensors --write again.safetensors > /dev/null
check 'a second fold changes nothing' cmp out.safetensors again.safetensors
cp mlp.safetensors place.safetensors
"$fold_graph" mlp.graph --parameters place.safetensors --write place.safetensors > /dev/null
check 'in place' cmp out.safetensors place.safetensors
printf 'input x features=8\nlayer_norm n x gamma=g1 beta=c1\noutput y n\n' > keep.graph
expect 'nothing folds' 0 'keep n input x' '' "$fold_graph" keep.graph --parameters mlp.safetensors --write kept.safetensors
check 'then the file is the same' cmp mlp.safetensors kept.safetensors

evaluated=$("$fold_graph" mlp.graph --parameters mlp.safetensors --evaluate) || failures=$((failures + 1))
check 'difference of given weights' grep -qE '^difference y [0-9.e+-]+ [0-9.e+-]+$' <<< "$evaluated"
check 'rounded weights' grep -qE '^rounded y [0-9.e+-]+ [0-9.]+e-(0[6-9]|1[0-9])$' <<< "$evaluated"
check 'other weights evaluate to something else' [ "$evaluated" != "$("$fold_graph" mlp.graph --evaluate)" ]

echo old > old.safetensors
for bad in 'missing.safetensors:parameter W2 is not in the file, expected 3x8' 'swapped.safetensors:parameter W2 is 8x3 of F32, expected 3x8' \
  'cut.safetensors:header of' 'nothing.safetensors:cannot be opened' '.:is not a regular file'; do
  expect "weights of ${bad%%:*}" 2 '' "${bad#*:}" "$fold_graph" mlp.graph --parameters "${bad%%:*}" --write old.safetensors --write-graph new.graph
done
check 'nothing was written' eval '[ "$(< old.safetensors)" = old ] && [ ! -e new.graph ]'
(trap '' XFSZ; ulimit -f 0; "$fold_graph" mlp.graph --parameters mlp.safetensors --write old.safetensors --write-graph new.graph > out.txt 2> err.txt)
check 'a full disk leaves the old file, and says so' eval '[ "$(< old.safetensors)" = old ] && [ ! -e new.graph ] && ! compgen -G "*partial*" > /dev/null'
expect 'an unwritable place' 2 "$mlp_lines" '/nowhere/out: cannot be written' "$fold_graph" mlp.graph --parameters mlp.safetensors --write /nowhere/out

swapped_lines=$("$fold_graph" mlp.graph --parameters swapped.safetensors --in-by-out W2 --write swapped_out.safetensors)
check 'weights in by out' [ "$swapped_lines" = "$mlp_lines" ]
check 'a pattern of weights in by out' "$fold_graph" mlp.graph --parameters swapped.safetensors --write swapped_again.safetensors --in-by-out '*2' > /dev/null
check 'the same by name and by pattern' cmp swapped_out.safetensors swapped_again.safetensors
expect 'in by out of what is no weight' 2 '' 'b? names no weight' "$fold_graph" mlp.graph --parameters mlp.safetensors --in-by-out 'b?'
for option in --parameters --dot; do
  expect "$option without a name" 2 '' "the file's name is empty" "$fold_graph" mlp.graph $option ''
done
expect 'a full disk' 2 '' 'standard output cannot be written' sh -c '"$0" mlp.graph > /dev/full' "$fold_graph"
for option in --untie --correct-tied --affine; do
  expect "$option in training" 2 '' '--training' "$fold_graph" tied.graph --training $option
done
expect 'weights of several graphs' 2 '' 'several' "$fold_graph" mlp.graph keep.graph --parameters mlp.safetensors
for option in --write --write-graph --in-by-out; do
  expect "$option without weights" 2 '' '--parameters' "$fold_graph" mlp.graph $option x
done
expect 'one file for both' 2 '' 'written over' "$fold_graph" mlp.graph --parameters mlp.safetensors --write x --write-graph ./x

expect 'a report for machines' 0 '{"file":"mlp.graph","norms":[{"name":"ln1","verdict":"fold"},{"name":"ln2","verdict":"keep","reason":"nonlinear","blame":"r"}],"centerings":[{"parameter":"W1","rows":8,"intervals":[[0,8]]},{"parameter":"b1","rows":8,"intervals":[[0,8]]}],"compositions":[],"untied":[],"corrected":[],"affines":[]}
{"file":"tied.graph","norms":[{"name":"n","verdict":"fold"}],"centerings":[{"parameter":"E","rows":4,"intervals":[[0,4]]}],"compositions":[],"untied":["E"],"corrected":[],"affines":[]}' \
  '' "$fold_graph" --json --untie mlp.graph tied.graph
json=$("$fold_graph" --json --correct-tied tied.graph)
check 'corrected heads for machines' grep -qF '"corrected":[{"head":"'  <<< "$json"
json=$("$fold_graph" --json --insert-centering centered.graph)
check 'a placement for machines' grep -qF '"placement":[{"insertions":[{"node":"' <<< "$json"
json=$("$fold_graph" --json --insert-centering mlp.graph)
check 'a placement of nothing for machines' grep -qF '"placement":[]' <<< "$json"
json=$("$fold_graph" --json --evaluate mlp.graph --parameters mlp.safetensors | tail -1)
check 'an evaluation for machines' grep -qE '^\{"file":"mlp.graph","differences":\[\{"output":"y","absolute":[^,]+,"relative":[^}]+\}\],"means":\[\{"norm":"ln1","mean":[^}]+\}\],"rounded":\[\{"output":"y",' <<< "$json"

[ "$failures" -eq 0 ] && echo 'all as expected'
exit "$failures"
