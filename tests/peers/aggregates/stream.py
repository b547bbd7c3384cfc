"""One window of a stream, always the same: one calendar day, 100,000 records of 20,000 subjects.

Few subjects send a lot (Zipf), few keys get a lot (Zipf), few values are large (exponential). `key` has
10 values, all of them known beforehand; `tag` has up to 1,000 that nobody lists.

    python3 stream.py FILE.ndjson
"""

import bisect
import itertools
import json
import random
import sys

RECORDS, SUBJECTS, KEYS, TAGS = 100_000, 20_000, 10, 1_000
SEED = 20261102
DAY = 1_793_577_600_000  # 2026-11-02T00:00:00Z
DAY_MS = 86_400_000
EXPONENT = 0.8  # of how many records a subject sends: the first 3,458, half of them one or two


def records_per_subject():
    """`c / rank^0.8`, at least 1, with the c that makes RECORDS of it."""
    size = lambda c: [max(1, int(c / rank**EXPONENT)) for rank in range(1, SUBJECTS + 1)]
    low, high = 1.0, float(RECORDS)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(size(middle)) <= RECORDS else (low, middle)
    sizes = size(low)
    sizes[0] += RECORDS - sum(sizes)
    return sizes


def zipf(draw, names):
    weights = list(itertools.accumulate(1 / (n + 1) for n in range(len(names))))
    return lambda: names[bisect.bisect_left(weights, draw.random() * weights[-1])]


def stream():
    draw = random.Random(SEED)
    key = zipf(draw, [f"k{n}" for n in range(KEYS)])
    tag = zipf(draw, [f"t{n:03}" for n in range(TAGS)])
    records = [
        {
            "at": DAY + int(draw.random() * DAY_MS),
            "subject": f"s{rank:05}",
            "key": key(),
            "tag": tag(),
            "value": int(draw.expovariate(1 / 15)),
        }
        for rank, size in enumerate(records_per_subject())
        for _ in range(size)
    ]
    records.sort(key=lambda record: (record["at"], record["subject"]))
    return records


if __name__ == "__main__":
    with open(sys.argv[1], "w") as file:
        for record in stream():
            file.write(json.dumps(record, separators=(",", ":")) + "\n")
