"""The window by Sluicegate: `release simulate`, ten processes of one run for the time, one of the others.

    SLUICEGATE=… python3 sluicegate.py FILE.ndjson KEYS VARIANT RUNS TO.json

KEYS: public or unknown. VARIANT: laplace (`accounting: pure`) or gaussian (`accounting: zcdp`).
"""

import json
import os
import pathlib
import subprocess
import sys

import same

BINARY = os.environ.get("SLUICEGATE", "sluicegate")
POLICIES = pathlib.Path(__file__).parent / "policies"
TIMED = 10


def main(path, keys, variant, runs, to):
    release = f"{ {'laplace': 'pure', 'gaussian': 'zcdp'}[variant] }-{keys}"
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout
    taken, published, bounded = [], [], []
    for times in [1] * TIMED + [int(runs) - TIMED]:
        took, window = same.seconds(lambda: simulate(path, release, times))
        if times == 1:
            taken.append(took)
        for run in range(times):
            published.append({r["key"]: r["published"][run] for r in window if r["published"][run]})
            bounded.append({r["key"]: r["bounded"] for r in window})
    same.save(
        to,
        tool="Sluicegate",
        version=version.split()[1],
        keys=keys,
        variant=variant,
        seconds=taken,
        runs=published,
        bounded=bounded,
    )


def simulate(path, release, times):
    command = [BINARY, "release", "simulate", POLICIES, "--release", release, "--input", path]
    command += ["--runs", str(times), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{release}: {done.stderr or done.stdout}")
    told = json.loads(done.stdout)
    assert (told["outside"], told["late"], len(told["windows"])) == (0, 0, 1)
    return told["windows"][0]["rows"]


if __name__ == "__main__":
    main(*sys.argv[1:])
