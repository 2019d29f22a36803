# awk -f docs/site/markdown.awk -f docs/site/page.awk PAGE.md: a page as Doxygen reads it. It does not know GitHub's
# anchors, finds no page in another folder, and takes "@gutenye" for a command. ROOT (environment): the repository.

function id(path) {
  if (path == "README.md") return "index"
  gsub(/[^A-Za-z0-9]/, "_", path)
  return "page_" path
}

# [text](target), for a target inside of the repository: to a page of the site, or just the text.
function link(text, target,   hash, path, part) {
  if (target ~ /^[a-z]+:/) return "[" text "](" target ")"
  hash = index(target, "#")
  path = hash ? substr(target, 1, hash - 1) : target
  part = hash ? substr(target, hash + 1) : ""
  path = path == "" ? page : resolved(page, path)
  if (path !~ /\.md$/) return text
  return "[" text "](@ref " id(path) (part == "" ? "" : "_" part) ")"
}

function with_links(line,   result, open_end, text, target, start) {
  result = ""
  while (match(line, /\[[^][]*\]\([^()]*\)/)) {
    start = RSTART
    text = substr(line, RSTART, RLENGTH)
    open_end = index(text, "](")
    target = substr(text, open_end + 2, length(text) - open_end - 2)
    result = result substr(line, 1, start - 1)
    if (start > 1 && substr(line, start - 1, 1) == "!") {
      sub(/[^\/]*\//, "", target)  # IMAGE_PATH has them all
      while (sub(/[^\/]*\//, "", target)) continue
      result = result substr(text, 1, open_end + 1) target ")"
    }
    else result = result link(substr(text, 2, open_end - 2), target)
    line = substr(line, start + length(text))
  }
  return result line
}

# Outside of `code`: no commands.
function plain(line,   parts, count, i, result) {
  count = split(line, parts, "`")
  for (i = 1; i <= count; ++i) {
    if (i % 2 == 1) gsub(/@[a-z]/, "\\\\&", parts[i])
    result = result (i > 1 ? "`" : "") parts[i]
  }
  return result
}

BEGIN {
  page = ARGV[1]
  if (index(page, ENVIRON["ROOT"] "/") == 1) page = substr(page, length(ENVIRON["ROOT"]) + 2)
}

begun != "" && /^$/ {
  print with_links(plain(begun))
  begun = ""
}

is_fence($0) || in_code { print; next }
/^    / { print; next }

/^#+ / {
  match($0, /^#+ /)
  level = RLENGTH - 1
  heading = substr($0, RLENGTH + 1)
  name = anchor(heading)
  if (seen[name]++) name = name "-" (seen[name] - 1)
  label = id(page) (level == 1 ? "" : "_" name)
  print substr($0, 1, RLENGTH) plain(heading) (label == "index" ? "" : " {#" label "}")
  next
}

# A link over two lines is one line for Doxygen.
{
  if (begun != "") $0 = begun " " $0
  begun = ""
  if (match($0, /\[[^][]*$/)) begun = $0
  else print with_links(plain($0))
}

END { if (begun != "") print begun }
