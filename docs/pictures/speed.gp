# gnuplot docs/pictures/speed.gp > docs/pictures/speed.svg: how many times the fastest peer's speed, from docs/benchmarks.md.
set terminal svg size 900,420 font "sans-serif,13" background "white"
table(case) = sprintf("< awk -F '|' '/^\\| %s.forward.f32/ { sub(/.*f32./, \"\", $2); print $2, $6 }' docs/benchmarks.md", case)
set style data histograms
set style histogram clustered gap 1
set style fill solid border rgb "white"
set xlabel "features x columns"
set ylabel "the fastest peer's time / foldnorm's"
set yrange [0:2.2]
set grid y
set xtics rotate by -35
set key top left
set arrow 1 from graph 0, first 1 to graph 1, first 1 nohead lc rgb "black" front
plot table("layer_norm") using 2:xtic(1) title "LayerNorm, forward" lc rgb "#2457a5", \
     table("rms_norm") using 2 title "RMSNorm, forward" lc rgb "#e0913a"
