"""The rule of a window in ten lines, held against what Kafka Streams did.

    python3 rule.py DIR/flights.ndjson DIR/kafka-streams.csv

For each case of `Windows.java`: the rule as it is must give the engine's rows, all of them; the rule
with its boundary moved by one step must not, or the stream would not test the boundary. Then, for
overlapping windows: what changes when each pane has a grace of its own, as in a release.
"""

import csv
import json
import sys
from collections import defaultdict

CASES = {  # size, every, grace in minutes
    "tumbling-60-grace-120": (60, 60, 120),
    "tumbling-15-grace-30": (15, 15, 30),
    "tumbling-15-grace-0": (15, 15, 0),
    "hopping-180-60-grace-1440": (180, 60, 1440),
    "hopping-180-60-grace-60": (180, 60, 60),
}
MINUTE_MS = 60_000


def rows(lines, size, every, grace, taken):
    """Count, distinct subjects, sum; by window and key. `taken(end + grace, now)` is the rule."""
    found = defaultdict(lambda: [0, set(), 0])
    now = 0
    for line in lines:
        event = line["event_ms"]
        now = max(now, event)  # this record's own time included
        start = event - event % every
        while start > event - size:
            if taken(start + size + grace, now):
                row = found[start, start + size, line["key"]]
                row[0] += 1
                row[1].add(line["subject"])
                row[2] += line["value"]
            start -= every
    return {at: (count, len(subjects), value) for at, (count, subjects, value) in found.items()}


def panes_added_up(lines, size, every, grace):
    """As a release does it: a record is late for its pane, and then for all windows of the pane."""
    kept, now = [], 0
    for line in lines:
        event = line["event_ms"]
        now = max(now, event)
        if event - event % every + every + grace > now:
            kept.append(line)
    return rows(kept, size, every, grace, lambda closes, now: True)


def main():
    stream, result = sys.argv[1:]
    with open(stream, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    engine = defaultdict(dict)
    with open(result, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at = (int(row["start_ms"]), int(row["end_ms"]), row["key"])
            engine[row["case"]][at] = tuple(int(row[n]) for n in ("count", "subjects", "value"))
    wrong = 0
    for name, minutes in CASES.items():
        size, every, grace = (m * MINUTE_MS for m in minutes)
        theirs = engine[name]
        same = rows(lines, size, every, grace, lambda closes, now: closes > now) == theirs
        moved = rows(lines, size, every, grace, lambda closes, now: closes >= now)
        differ = sum(moved.get(at) != theirs.get(at) for at in moved.keys() | theirs.keys())
        # A day of grace is for a stream without late records: there is no boundary to test.
        wrong += (not same) + (minutes[2] < 1440 and differ == 0)
        print(f"{name}: {len(theirs)} rows, {'the same' if same else 'NOT THE SAME'};"
              f" {differ} differ when the boundary moves")
        if every < size:
            ours = panes_added_up(lines, size, every, grace)
            fewer = sum(theirs[at][0] - ours.get(at, (0,))[0] for at in theirs)
            assert all(ours[at][0] <= theirs[at][0] for at in ours)
            print(f"  with a grace for each pane: {fewer} of"
                  f" {sum(row[0] for row in theirs.values())} additions fewer")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
