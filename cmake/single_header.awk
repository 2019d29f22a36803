# awk -v headers=include -v license=LICENSE -v to=FILE -f cmake/single_header.awk include/foldnorm/foldnorm.hpp
#
# A header and everything of foldnorm's that it includes, as one file. Each part is where it was first included. Other
# includes stay, once each, in front of the part that names them first; those under an #if stay where they are.

BEGIN {
  root = ARGV[1]
  write("// foldnorm as one header. Generated: change the parts in include/foldnorm instead.")
  write("//")
  while ((lines = (getline line < license)) > 0) write(line == "" ? "//" : "// " line)
  if (lines < 0) stop(license ": cannot be read")
  write("#pragma once")
  append(root)
}

function append(file,    line, depth, name, lines) {
  if (file in done) return
  done[file] = 1
  while ((lines = (getline line < file)) > 0) {
    if (line ~ /^#if/) ++depth
    if (line ~ /^#endif/) --depth
    if (line == "#pragma once" || line ~ /^\/\/ SPDX/) continue
    if (match(line, /^#include <foldnorm\//)) {
      if (depth) stop(file ": an include of foldnorm's under an #if cannot be inlined: " line)
      name = substr(line, 11)
      sub(/>.*/, "", name)
      append(headers "/" name)
    } else if (line ~ /^#include/ && !depth) {
      if (!(line in done)) write(line)
      done[line] = 1
    } else {
      write(line)
    }
  }
  if (lines < 0) stop(file ": cannot be read")
  close(file)
}

function write(line) {
  if (line != "" || last != "") print line > to
  last = line
}

function stop(what) {
  print what > "/dev/stderr"
  exit 1
}
