#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""coverage_by_room.py LINES_JSON: what gcovr found, by room and by header; exit 1 where a room is below 95 %."""

import collections
import json
import sys

LEAST = 95.0


def share(lines):
    return 100.0 * sum(count > 0 for count in lines) / len(lines)


def main():
    rooms, headers = collections.defaultdict(list), {}
    for file in json.load(open(sys.argv[1]))["files"]:
        path = file["file"].split("include/foldnorm/")[1]
        counts = [line["count"] for line in file["lines"] if not line.get("gcovr/noncode")]
        if counts:
            headers[path] = counts
            rooms[path.split("/")[0] if "/" in path else "."] += counts
    for room, counts in sorted(rooms.items()):
        print(f"{room:<16} {len(counts):>6} lines {share(counts):6.1f} %")
    every = [count for counts in rooms.values() for count in counts]
    print(f"{'all':<16} {len(every):>6} lines {share(every):6.1f} %")
    for path, counts in sorted(headers.items(), key=lambda header: share(header[1])):
        if share(counts) < LEAST:
            print(f"below {LEAST:.0f} %: {path} {share(counts):.1f} % of {len(counts)}")
    sys.exit(min(share(counts) for counts in rooms.values()) < LEAST)


main()
