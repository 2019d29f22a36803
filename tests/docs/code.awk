# awk -f tests/docs/code.awk PAGE.md ...: the C++ of documentation pages.
#   A ```cpp block with a main is a program, at most one a page: main of a namespace, program_of_PAGE.
#   All other ```cpp blocks are fragments, those of a page one function, in order. Nobody calls it.
# Includes come first. Other lines are numbered as in the page, so that the compiler's messages lead there.
#
# awk -v output=1 -f tests/docs/code.awk PAGE.md: what the page's program shall print, the ```text block behind it.

function identifier(path) {
  gsub(/[^A-Za-z0-9]/, "_", path)
  return path
}

function lines_of_block(   i, lines, main_begun) {
  lines = "#line " begin " \"" FILENAME "\"\n"
  for (i = 1; i <= size; ++i) {
    if (block[i] ~ /^#include/) {
      if (!output) print block[i]
      lines = lines "\n"
      continue
    }
    if (block[i] ~ /^int main\(/) main_begun = 1
    if (main_begun && block[i] == "}") {
      block[i] = "return 0; }"  # what a main need not say, but one in a namespace has to
      main_begun = 0
    }
    lines = lines block[i] "\n"
  }
  return lines
}

function end_block(   i) {
  if (kind == "cpp" && is_program) {
    programs = programs "namespace program_of_" identifier(FILENAME) " {\n" lines_of_block() "}\n"
  } else if (kind == "cpp") {
    if (FILENAME != last_fragment) {
      fragments = fragments (last_fragment == "" ? "" : "}\n")
      fragments = fragments "[[maybe_unused]] void fragments_of_" identifier(FILENAME) "() {\nusing namespace given;\n"
    }
    fragments = fragments lines_of_block()
    last_fragment = FILENAME
  } else if (kind == "text" && behind_program && output) {
    for (i = 1; i <= size; ++i) print block[i]
  }
  behind_program = kind == "cpp" && is_program
}

FNR == 1 {
  kind = ""
  behind_program = 0
}

kind != "" && /^```$/ {
  end_block()
  kind = ""
  next
}
kind != "" {
  block[++size] = $0
  if (/^int main\(/) is_program = 1
  next
}
/^```/ {
  kind = $0 == "```" ? "none" : substr($0, 4)
  begin = FNR + 1
  size = 0
  is_program = 0
}

END {
  if (output) exit
  print "#include \"fragments.hpp\""
  printf "%s", programs
  if (fragments == "") exit
  # A fragment shows what there is, and uses none of it.
  print "#pragma GCC diagnostic ignored \"-Wunused-variable\""
  print "#pragma GCC diagnostic ignored \"-Wunused-but-set-variable\""
  print "namespace {\n" fragments "}\n}"
}
