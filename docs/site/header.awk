# awk -f docs/site/header.awk FILE.hpp: a header as Doxygen reads it. Headers have plain comments; this makes
#   the file's first comment block, "// foldnorm/x/y.hpp -- what it is"    a comment on the file,
#   a block right in front of a declaration, and one behind a member      comments on them,
# and leaves out what is not for users: namespaces detail, whatever is inside of functions. The code is laid out by
# clang-format, so that indentation says what is a declaration: 2 columns for each class around it.

# Text for people, as Doxygen has to be told: none of its commands, of Markdown's or of HTML's, but for `code`.
function escaped(text,   parts, count, i, result) {
  count = split(text, parts, "`")
  if (count % 2 == 0) gsub(/`/, "\\`", text)
  if (count % 2 == 0) count = split(text, parts, "\n")
  for (i = 1; i <= count; ++i) {
    if (i % 2 == 1) {
      gsub(/\\/, "\\\\", parts[i])
      gsub(/&/, "\\&amp;", parts[i])
      gsub(/</, "\\&lt;", parts[i])
      gsub(/>/, "\\&gt;", parts[i])
      gsub(/[@#*%~|]/, "\\\\&", parts[i])
      gsub(/_[^A-Za-z0-9]/, "\\\\&", parts[i])
      gsub(/ - /, " \\&minus; ", parts[i])
    }
    result = result (i > 1 ? "`" : "") parts[i]
  }
  return result
}

# Prints a block's lines; what is indented in them is laid out by hand: formulas, tables, code.
function print_text(first, opening, indent,   i, by_hand) {
  by_hand = 0
  for (i = first; i <= block_size; ++i) {
    if (!by_hand && block[i] ~ /^  +[^ ]/) {
      print opening "@code{.unparsed}"
      by_hand = 1
    } else if (by_hand && block[i] !~ /^  / && (block[i] != "" || block[i + 1] !~ /^  /)) {
      print opening "@endcode"
      by_hand = 0
    }
    print opening (by_hand ? substr(block[i], 2) : escaped(block[i]))
  }
  if (by_hand) print opening "@endcode"
}

function print_file_comment(   path, what) {
  path = block[1]
  sub(/ .*/, "", path)
  what = block[1]
  sub(/^[^ ]* -- /, "", what)
  sub(/^foldnorm\//, "", path)
  print "/// @file " path
  print "/// @brief " toupper(substr(what, 1, 1)) escaped(substr(what, 2))
  print_text(2, "/// ")
  print ""
}

BEGIN { indent = 0; hidden = 0; head = 1; block_size = 0 }

/^\/\/ SPDX/ { next }
/^namespace detail \{/ { hidden = 1 }
hidden { if (/^}  \/\/ namespace detail/) hidden = 0; block_size = 0; next }

{ match($0, /^ */); column = RLENGTH }

# A line of comment alone.
/^ *\/\// {
  if (behind_member && column > indent + 2) {  # goes on with what stands behind the member above
    sub(/^ *\/\/ ?/, "")
    print "///< " escaped($0)
    next
  }
  if (column != indent) { block_size = 0; next }
  sub(/^ *\/\/ ?/, "")
  block[++block_size] = $0
  block[block_size + 1] = ""
  next
}

head && block_size > 0 {
  print_file_comment()
  head = 0
  block_size = 0
}

{
  gsub(/ *\/\/ NOLINT.*/, "")
  sub(/namespace foldnorm::inline FOLDNORM_ABI/, "namespace foldnorm")
  if (block_size > 0 && column == indent && $0 !~ /^ *(#|}|$)/) print_text(1, "/// ")
  block_size = 0
  behind_member = 0
  if (column == indent && $0 !~ /^ *[#}]/ && match($0, /[;,A-Za-z0-9}]   *\/\/ /)) {
    behind_member = 1
    $0 = substr($0, 1, RSTART) "  ///< " escaped(substr($0, RSTART + RLENGTH))
  }
  print
  if (column == indent && $0 ~ /^ *(struct|class|enum|union)[ A-Za-z0-9_:<>,]* \{/ && $0 !~ /\}/) indent += 2
  else if (indent > 0 && column == indent - 2 && /^ *\}/) indent -= 2
}
