"""Holds what everyone published against the truth of the stream: two tables in Markdown.

    python3 report.py DIR
"""

import collections
import json
import pathlib
import statistics
import sys

import numpy

import same

ORDER = ("Sluicegate", "PipelineDP", "Tumult Analytics")


def main(to):
    stream = same.records(to / "window.ndjson")
    results = [json.loads(path.read_text()) for path in sorted(to.glob("*-*-*.json"))]
    results.sort(key=lambda r: (r["variant"].split("-")[0] != "laplace", ORDER.index(r["tool"]), r["variant"]))
    for keys in ("public", "unknown"):
        truth, expected = truths(stream, same.COLUMN[keys])
        print(f"\n{keys}: {len(truth)} keys, {len(stream)} records, of which bounds leave ", end="")
        print(f"{sum(row[1] for row in expected.values()):.0f}\n")
        print(f"| tool | noise | runs | {' | '.join(HEADS)} |")
        print(f"|---|---|---{'|---' * len(HEADS)}|")
        for result in results:
            if result["keys"] == keys:
                head = f"{result['tool']} {result['version']} | {result['variant']} | {len(result['runs'])}"
                print(f"| {head} | {' | '.join(judged(result, truth, expected, len(stream)))} |")


HEADS = (
    "RMSE to bounded",
    "mean error to bounded, in standard errors",
    "bounding itself, against expected",
    "RMSE to unbounded",
    "bias to unbounded",
    "keys: mean (least, most)",
    "smallest key of half of the runs, of all",
    "records of published keys",
    "s by clock",
    "s of processor",
)


def judged(result, truth, expected, records):
    runs, bounded = result["runs"], result["bounded"]
    bounded = bounded if len(bounded) > 1 else bounded * len(runs)
    rows = [(run[k], was[k], truth[k], expected[k]) for run, was in zip(runs, bounded) for k in run]
    noisy, was, true, expect = (numpy.array(column, dtype=float) for column in zip(*rows))
    noise, error = noisy - was, noisy - true
    times = collections.Counter(k for run in runs for k in run)
    smallest = lambda share: min((expected[k][0] for k in times if times[k] >= share * len(runs)), default=0)
    held = statistics.mean(sum(truth[k][1] for k in run) for run in runs)
    clock, processor = zip(*result["seconds"])
    return (
        figures(root_mean_square(noise)),
        " / ".join(f"{z:+.1f}" for z in noise.mean(0) / (noise.std(0) / len(noise) ** 0.5)),
        " / ".join(f"{100 * part:+.1f} %" for part in was.sum(0) / expect.sum(0) - 1),
        figures(root_mean_square(error)),
        " / ".join(f"{100 * part:.1f} %" for part in error.sum(0) / true.sum(0)),
        f"{statistics.mean(map(len, runs)):.1f} ({min(map(len, runs))}, {max(map(len, runs))})",
        f"{smallest(0.5):.0f}, {smallest(1.0):.0f}",
        f"{100 * held / records:.0f} %",
        f"{statistics.median(clock):.1f}",
        f"{statistics.median(processor):.1f}",
    )


def root_mean_square(errors):
    return (errors**2).mean(0) ** 0.5


def figures(three):
    return " / ".join(f"{number:.1f}" if number < 100 else f"{number:,.0f}" for number in three)


def truths(stream, column):
    """By key: the truth, and what bounds leave of it on average if keys and records are chosen evenly."""
    values = collections.defaultdict(lambda: collections.defaultdict(list))
    for record in stream:
        values[record["subject"]][record[column]].append(record["value"])
    truth = collections.defaultdict(lambda: [0, 0, 0])
    expected = collections.defaultdict(lambda: [0.0, 0.0, 0.0])
    low, high = same.CLAMP
    for keys in values.values():
        chosen = min(1, same.KEYS_PER_SUBJECT / len(keys))
        for key, sent in keys.items():
            kept = min(len(sent), same.RECORDS_PER_KEY)
            clamped = statistics.mean(min(max(value, low), high) for value in sent)
            for n, number in enumerate((1, len(sent), sum(sent))):
                truth[key][n] += number
            for n, number in enumerate((1, kept, kept * clamped)):
                expected[key][n] += chosen * number
    return truth, expected


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
