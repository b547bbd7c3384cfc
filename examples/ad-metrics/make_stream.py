"""Clicks of half an hour, in the order in which they arrive, one a line.

    python3 make_stream.py > stream.ndjson

The same lines each time: the only chance in it comes from a fixed seed, and from functions of
`random` whose results are the same in all versions of Python 3. In it, as in life: placements of
very different sizes, one that only four people ever see, users who click once and a program that
clicks without pause, clicks that arrive late, and some that arrive too late.

`--begin MS` moves it to another time (milliseconds since 1970): to send it to a running gateway,
which believes no times of another day. `--pace` then sends each line when its time has come.
"""

import argparse
import json
import random
import sys
import time

BEGIN_MS = 1_793_613_600_000  # 2026-11-02T10:00:00Z
MINUTES = 30
CLICKS = 5_000
USERS = 3_400
PLACEMENTS = [  # name, countries of its part of the world, share, usual cost in cents
    ("aurora-tea/emea", ["DE", "FR"], 24, 42),
    ("aurora-tea/latam", ["BR", "MX"], 17, 18),
    ("north-rail/emea", ["DE", "FR"], 15, 71),
    ("city-bikes/apac", ["JP"], 12, 35),
    ("city-bikes/north-america", ["US"], 10, 55),
    ("north-rail/north-america", ["US"], 7, 64),
    ("glow-lamps/emea", ["DE", "FR"], 5, 27),
    ("glow-lamps/apac", ["JP"], 3, 30),
    ("deep-sea-museum/emea", ["DE"], 3, 12),
    ("glow-lamps/latam", ["BR"], 2, 16),
    ("deep-sea-museum/apac", ["JP"], 1, 12),
]
# A placement for people at one address: what the threshold is for.
TINY = ("board-members-of-acme/emea", ["DE"], 4)
PROGRAM = "b-0666"


def pick(rng, weights):
    """An index, by integer weights."""
    at = int(rng.random() * sum(weights))
    for index, weight in enumerate(weights):
        at -= weight
        if at < 0:
            return index
    raise AssertionError("weights")


def delay_ms(rng):
    """How long a click is under way: mostly a blink, one in 50 waits, one in 500 far too long."""
    luck = rng.random()
    if luck < 0.002:
        return 400_000 + int(rng.random() * 300_000)
    if luck < 0.02:
        return int(rng.random() * 25_000)
    return int(rng.random() * 900)


def clicks(rng):
    """(arrival, line) in no order."""
    shares = [share for _, _, share, _ in PLACEMENTS]
    for _ in range(CLICKS - 260):
        name, countries, _, cents = PLACEMENTS[pick(rng, shares)]
        # Few users click often: the square prefers small numbers.
        user = int(rng.random() * rng.random() * USERS)
        country = countries[user % len(countries)]
        cost = max(1, int(cents * (0.5 + rng.random())))
        yield click(rng, f"b-{user + 1000}", country, name, cost)
    for turn in range(20):
        name, countries, people = TINY
        yield click(rng, f"b-9{turn % people:03}", countries[0], name, 950)
    for _ in range(240):
        yield click(rng, PROGRAM, "US", "city-bikes/north-america", 55)


def click(rng, user, country, placement, cents):
    at = int(rng.random() * MINUTES * 60_000)
    cost = f"{cents // 100}.{cents % 100:02}"
    fields = [("user", user), ("country", country), ("placement", placement)]
    text = "".join(f"{json.dumps(name)}:{json.dumps(value)}," for name, value in fields)
    return at + delay_ms(rng), at, f'{{"value":{{{text}"cost":{cost},"at":%d}}}}'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--begin", type=int, default=BEGIN_MS, metavar="MS")
    parser.add_argument("--pace", action="store_true")
    args = parser.parse_args()
    for arrival, at, line in sorted(clicks(random.Random(2026))):
        if args.pace:
            time.sleep(max(0, (args.begin + arrival) / 1000 - time.time()))
        print(line % (args.begin + at), flush=args.pace)


if __name__ == "__main__":
    sys.exit(main())
