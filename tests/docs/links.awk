# awk -f docs/site/markdown.awk -f tests/docs/links.awk PAGE.md ...: the relative links that lead nowhere.

FNR == 1 { in_code = 0 }
is_fence($0) || in_code || /^    / { next }

/^#+ / {
  heading = $0
  sub(/^#+ /, "", heading)
  name = FILENAME "#" anchor(heading)
  anchors[seen[name]++ ? name "-" (seen[name] - 1) : name] = 1
}

{
  gsub(/`[^`]*`/, "code")
  while (match($0, /\]\([^()]*\)/)) {
    target = substr($0, RSTART + 2, RLENGTH - 3)
    $0 = substr($0, RSTART + RLENGTH)
    if (target !~ /^[a-z]+:/) links[++count] = FILENAME ":" FNR " " target
  }
}

END {
  for (i = 1; i <= count; ++i) {
    split(links[i], parts, " ")
    page = parts[1]
    sub(/:[0-9]+$/, "", page)
    hash = index(parts[2], "#")
    path = hash ? substr(parts[2], 1, hash - 1) : parts[2]
    path = path == "" ? page : resolved(page, path)
    if (system("test -e \"" path "\"")) print parts[1] ": there is no " path
    else if (hash && !((path substr(parts[2], hash)) in anchors)) print parts[1] ": there is no " path substr(parts[2], hash)
  }
}
