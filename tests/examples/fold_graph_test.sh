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

[ "$failures" -eq 0 ] && echo 'all as expected'
exit "$failures"
