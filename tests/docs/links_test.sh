#!/usr/bin/env bash
# links_test.sh ROOT: every relative link in README.md, CONTRIBUTING.md, CHANGELOG.md and docs/ leads to a file or folder, and
# to a heading that is there. Prints those that do not.
set -euo pipefail
cd "$1"
mapfile -t pages < <(ls ./*.md; find docs -name '*.md')
broken=$(awk -f docs/site/markdown.awk -f tests/docs/links.awk "${pages[@]#./}")
[ -z "$broken" ] || { echo "$broken"; exit 1; }
