# bench/median_of_runs.awk -- several bench_table --csv files, one a process, as one Markdown table of medians over the processes.
#   awk -f bench/median_of_runs.awk run1.csv run2.csv ...
BEGIN { FS = "," }
FNR == 1 { ++runs; next }
!($1 in seen) { seen[$1] = 1; cases[++count] = $1 }
$2 == "foldnorm" { ours[$1, runs] = $3; next }
$2 == "foldnorm again" { again[$1, runs] = $3; next }
$2 == "tuned loops" { tuned[$1, runs] = $3; next }
$2 == "memcpy" { memcpy[$1, runs] = $3; next }
$2 == "streaming copy" { streaming[$1, runs] = $3; next }
!(($1, runs) in best) || $3 < best[$1, runs] { best[$1, runs] = $3; name[$1, runs] = $2 }

# The median over the runs of values[case, run], and the run that holds it in `middle`.
function median(values, what,    i, j, t, n, v, r) {
  n = 0
  for (i = 1; i <= runs; ++i) if ((what, i) in values) { v[++n] = values[what, i]; r[n] = i }
  for (i = 2; i <= n; ++i) for (j = i; j > 1 && v[j] < v[j - 1]; --j) {
    t = v[j]; v[j] = v[j - 1]; v[j - 1] = t; t = r[j]; r[j] = r[j - 1]; r[j - 1] = t
  }
  middle = r[int((n + 1) / 2)]
  return v[int((n + 1) / 2)]
}
# What a call moves, in copies of its input: norms 1, residual sums 2, backwards 1.5.
function copies(what) { return what ~ /^add_/ ? 2 : what ~ /backward/ ? 1.5 : 1 }

END {
  printf "| case | foldnorm, us | best peer, us | | ratio | tuned loops | of memcpy | of a streaming copy | A/A |\n|---|---|---|---|---|---|---|---|---|\n"
  for (c = 1; c <= count; ++c) {
    what = cases[c]
    group = what; sub("/[^/]*$", "", group)
    for (i = 1; i <= runs; ++i) {
      ratio[what, i] = best[what, i] / ours[what, i]
      if ((what, i) in tuned) over_tuned[what, i] = tuned[what, i] / ours[what, i]
      share[what, i] = copies(what) * memcpy[what, i] / ours[what, i]
      streamed[what, i] = copies(what) * streaming[what, i] / ours[what, i]
      control[what, i] = again[what, i] / ours[what, i]
    }
    r = median(ratio, what)
    peer = name[what, middle]
    t = median(over_tuned, what)
    printf "| %s | %.3g | %.3g | %s | %.2f | %s | %.2f | %.2f | %.2f |\n", what, median(ours, what), median(best, what), peer,
           r, t ? sprintf("%.2f", t) : "-", median(share, what), median(streamed, what), median(control, what)
    if (!(group in sum)) groups[++group_count] = group
    sum[group] += log(r); ++members[group]
    if (t) { tuned_sum[group] += log(t); ++tuned_members[group] }
    if (!(group in worst) || r < worst[group]) worst[group] = r
  }
  printf "\nRatios, geometric mean and worst, medians over %d processes:\n\n", runs
  for (g = 1; g <= group_count; ++g) {
    group = groups[g]
    printf "* %s: %.2f, worst %.2f", group, exp(sum[group] / members[group]), worst[group]
    if (group in tuned_sum) printf "; tuned loops %.2f", exp(tuned_sum[group] / tuned_members[group])
    printf "\n"
  }
}
