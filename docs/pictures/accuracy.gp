# gnuplot docs/pictures/accuracy.gp > docs/pictures/accuracy.svg: nrm of the table in docs/numerics.md, "Beside others".
set terminal svg size 900,460 font "sans-serif,13" background "white"
# One row for each kind of samples. What is not finite gets a bar beyond the top, an error of 0 none.
table = "< awk -F '|' '/^\\| (N\\(0|mean|one feature|constant|1e20|up to)/ { \
  gsub(/ *$/, \"\", $2); printf \"\\\"%s\\\"\", $2; \
  for (i = 3; i <= 7; ++i) { split($i, e, \"/\"); v = e[1] + 0; printf \" %s\", $i ~ /not/ ? 1e30 : v == 0 ? \"NaN\" : v }; \
  print \"\" }' docs/numerics.md"
set style data histograms
set style histogram clustered gap 1
set style fill solid
set logscale y
set yrange [1e-8:1e6]
set format y "10^{%T}"
set ylabel "largest error / largest output"
set grid y
set xtics rotate by -35
set key above samplen 2 width -1
set label 1 "to the top: not finite. No bar: 0" at graph .02, .94
plot table using 2:xtic(1) title "foldnorm" lc rgb "#2457a5", '' using 3 title "Eigen" lc rgb "#9aa7b5", \
     '' using 4 title "oneDNN" lc rgb "#e0913a", '' using 5 title "libtorch" lc rgb "#b5442d", \
     '' using 6 title "ONNX Runtime" lc rgb "#6b9c4b"
