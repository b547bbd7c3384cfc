"""Readings of bedside monitors over one day, in the order in which they arrive, one a line.

    python3 make_stream.py > stream.ndjson

The same lines each time: the only chance in it comes from a fixed seed, and from functions of
`random` whose results are the same in all versions of Python 3. In it, as in life: wards of very
different sizes, a reading every four hours, some patients who move in the middle of the day, one
monitor that repeats itself all night, and readings that come late because a network was down.

`--begin` moves it to another day: `--begin 2026-12-01T06:00:00Z`.
"""

import argparse
import random
from datetime import datetime, timedelta, timezone

BEGIN = "2026-11-02T06:00:00Z"
WARDS = [  # name, patients, usual heart rate, alarms in a hundred readings
    ("cardiology", 210, 84, 18),
    ("geriatrics", 190, 76, 9),
    ("intensive-care", 70, 92, 30),
    ("maternity", 90, 82, 3),
    ("stroke", 90, 80, 12),
    ("surgery", 245, 79, 6),
]
EVERY_S = 4 * 3600
DAY_S = 24 * 3600
BROKEN = "p-2000"  # its monitor reports every two minutes from midnight


def readings(rng):
    """(arrival, time, patient, ward, bpm, alarm), seconds from the beginning, in no order."""
    number = 2000
    for ward, patients, usual, percent in WARDS:
        for _ in range(patients):
            patient, number = f"p-{number}", number + 1
            home, moves = ward, rng.random() < 0.04
            first = int(rng.random() * EVERY_S)
            # What is rare in a ward is common in some of its patients.
            frail = rng.random() < percent / 30
            for at in range(first, DAY_S, EVERY_S):
                if moves and at > 12 * 3600:
                    home = "intensive-care" if ward != "intensive-care" else "cardiology"
                alarm = int(frail and rng.random() < 0.3)
                bpm = usual + int(rng.random() * 21) - 10 + alarm * (25 + int(rng.random() * 30))
                yield (at + delay_s(rng), at, patient, home, bpm, alarm)
    for at in range(18 * 3600, 21 * 3600, 120):
        yield (at + 1, at, BROKEN, "cardiology", 171, 1)


def delay_s(rng):
    """Most come at once, one in 40 within a quarter of an hour, one in 1,000 after an hour."""
    luck = rng.random()
    if luck < 0.001:
        return 3600 + int(rng.random() * 3600)
    if luck < 0.025:
        return int(rng.random() * 900)
    return int(rng.random() * 3)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--begin", default=BEGIN, metavar="TIME")
    begin = datetime.strptime(parser.parse_args().begin, "%Y-%m-%dT%H:%M:%SZ")
    begin = begin.replace(tzinfo=timezone.utc)
    for _, at, patient, ward, bpm, alarm in sorted(readings(random.Random(2026))):
        at = (begin + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%SZ")
        print(
            f'{{"value":{{"patient":"{patient}","ward":"{ward}","bpm":{bpm},'
            f'"alarm":{alarm},"at":"{at}"}}}}'
        )


if __name__ == "__main__":
    main()
