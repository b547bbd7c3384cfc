"""The measurements of tests/bench as tables of Markdown: FOLDER CASE…"""

import json
import os
import sys

folder, cases = sys.argv[1], sys.argv[2:]


def read(case, kind):
    with open(os.path.join(folder, f"{case}-{kind}.json")) as file:
        return json.load(file)


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def head(*cells):
    row(*cells)
    print("|" + "---|" * len(cells))


def watched(run, member):
    """Of gateway (if there is one), broker and load."""
    found = [process[member] for process in run["watched"]]
    found = found if len(found) == 3 else [None, *found]
    return ["–" if value is None else f"{value:.3g}" for value in found]


head("as fast as possible", "MB/s", "records/s", "CPU-ms/MB gateway", "broker", "load", "MB gateway", "ledger bytes/record")
for case in cases:
    run = read(case, "max")["published"][0]
    ledger = "–"
    if case != "direct":
        with open(os.path.join(folder, f"{case}-ledger-bytes")) as file:
            ledger = f"{int(file.read()) / run['acknowledged_records']:.3g}"
    row(case, run["acknowledged_mb_per_s"], round(run["acknowledged_records_per_s"]),
        *watched(run, "cpu_ms_per_mb"), watched(run, "resident_mb_max")[0], ledger)
print()
head("at a rate", "records/s", "kept", "publish p50 ms", "p99", "p99.9", "end to end p50 ms", "p99", "p99.9",
     "CPU-ms/MB gateway", "broker", "load")
for case in cases:
    for run in read(case, "rates")["published"]:
        times = [run[of][at] for of in ("publish", "end_to_end") for at in ("p50_ms", "p99_ms", "p99_9_ms")]
        row(case, run["rate_wanted_records_per_s"], "yes" if run["rate_kept"] else "no", *times,
            *watched(run, "cpu_ms_per_mb"))
print()
head("reading", "connections", "MB/s", "records/s", "CPU-ms/MB gateway", "broker", "load", "MB gateway")
for case in cases:
    for kind in ("consume", "connections"):
        run = read(case, kind)["consumed"]
        row(case, run["connections"], run["mb_per_s"], round(run["records_per_s"]), *watched(run, "cpu_ms_per_mb"),
            watched(run, "resident_mb_max")[0])
