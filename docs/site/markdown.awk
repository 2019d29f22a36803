# What the scripts about Markdown pages have in common. Pages are named by their path from the repository's root.

# The anchor of a heading, as GitHub makes it; the second equal one of a page ends in -1, and so on.
function anchor(heading) {
  gsub(/`/, "", heading)
  gsub(/\]\([^)]*\)/, "]", heading)
  heading = tolower(heading)
  gsub(/[^a-z0-9 _-]/, "", heading)
  gsub(/ /, "-", heading)
  return heading
}

# The path that `link` means on `page`, without "." and "..".
function resolved(page, link,   parts, count, kept, depth, i, path) {
  path = page
  if (!sub(/[^\/]*$/, "", path)) path = ""
  count = split(path link, parts, "/")
  depth = 0
  for (i = 1; i <= count; ++i) {
    if (parts[i] == "." || parts[i] == "") continue
    if (parts[i] == "..") --depth
    else kept[++depth] = parts[i]
  }
  path = ""
  for (i = 1; i <= depth; ++i) path = path (i > 1 ? "/" : "") kept[i]
  return path
}

# Is this line a fence of a code block? Keeps track of being in one, in in_code.
function is_fence(line) {
  if (line !~ /^ *```/) return 0
  in_code = !in_code
  return 1
}
