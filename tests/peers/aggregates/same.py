"""What is the same for everyone (and in `policies/releases.yaml`), and the file that each writes."""

import json
import math
import os
import pathlib
import time

EPSILON, DELTA = 1.0, 1e-6
KEYS_PER_SUBJECT = 4
RECORDS_PER_KEY = 5
CLAMP = (0, 50)
PUBLIC = [f"k{n}" for n in range(10)]
COLUMN = {"public": "key", "unknown": "tag"}
OUTPUTS = ("subjects", "count", "sum")  # in this order in all files; each has a third of the budget


def records(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def rho_of(epsilon, delta):
    """The largest rho of which (epsilon, delta) follows (Canonne, Kamath, Steinke 2020, corollary 13)."""
    def delta_of(rho):
        log = lambda a: (a - 1) * (a * rho - epsilon) - math.log(a) + (a - 1) * math.log1p(-1 / a)
        low, high = 1 + 1e-9, 1e6  # the exponent is convex in a
        for _ in range(300):
            left, right = low + (high - low) / 3, high - (high - low) / 3
            low, high = (low, right) if log(left) < log(right) else (left, high)
        return math.exp(log(low))

    low, high = 0.0, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle) <= delta else (low, middle)
    return low


def seconds(work):
    """By the clock, and of processors: the second is what others on the machine disturb less."""
    begin, busy = time.perf_counter(), processor()
    result = work()
    return (time.perf_counter() - begin, processor() - busy), result


def processor():
    """Seconds of processors that this process took, with all below it, living and gone."""
    tree, ticks = {}, {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # gone meanwhile
        tree.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        ticks[int(stat.parent.name)] = sum(map(int, fields[11:15]))
    total, below = 0, [os.getpid()]
    while below:
        process = below.pop()
        total += ticks.get(process, 0)
        below += tree.get(process, [])
    return total / os.sysconf("SC_CLK_TCK")


def save(path, **what):
    """`runs`: {key: [subjects, count, sum]} of what was published, one for each run. `bounded`: the same
    before noise, of all keys, one for each run or one for all."""
    with open(path, "w") as file:
        json.dump(what, file)
