"""The window by Tumult Analytics: Spark on this machine, one thread.

    python3 tumult.py FILE.ndjson KEYS VARIANT RUNS TO.json

KEYS: public or unknown. VARIANT: laplace (epsilon in equal parts) or gaussian (zCDP; only with public
keys: Tumult selects keys under (epsilon, delta) alone, and has no Gaussian noise there).
"""

import os
import shutil
import sys
import tempfile
import time

import tmlt.analytics as tumult
from pyspark.sql import SparkSession
from tmlt.analytics.utils import cleanup

import same

MOST_SECONDS = 500  # RUNS are as many as fit; the first, which is slower, is not among them


def main(path, keys, variant, runs, to):
    begin = time.monotonic()
    scratch = tempfile.mkdtemp()
    started, spark = same.seconds(lambda: session(scratch))
    loaded, frame = same.seconds(lambda: load(spark, path, same.COLUMN[keys], scratch))
    # What is left after bounding is the same in each run; endless budget shows it.
    endless = tumult.PureDPBudget(float("inf"))
    every = sorted({row[0] for row in frame.select("key").distinct().collect()})
    left = release(frame, "public", endless, None, endless, every)
    taken, published = [], []
    while len(taken) < int(runs) and time.monotonic() < begin + MOST_SECONDS:
        took, rows = same.seconds(lambda: release(frame, keys, *budgets(keys, variant)))
        taken.append(took)
        published.append(rows)
    same.save(
        to,
        tool="Tumult Analytics",
        version=tumult.__version__,
        keys=keys,
        variant=variant,
        started=started,
        loaded=loaded,
        seconds=taken,
        runs=published,
        bounded=[left],
    )
    cleanup()
    spark.stop()
    shutil.rmtree(scratch)


def session(scratch):
    os.environ["PYSPARK_PYTHON"] = sys.executable
    return (
        SparkSession.builder.master("local[1]")
        .config("spark.sql.shuffle.partitions", "1")  # 200 by default: much slower here
        .config("spark.default.parallelism", "1")
        .config("spark.driver.memory", "2g")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
        .getOrCreate()
    )


def load(spark, path, column, scratch):
    """By way of Parquet: Spark would carry rows made in Python through Python in every query."""
    rows = [(r["subject"], r[column], r["value"]) for r in same.records(path)]
    frame = spark.createDataFrame(rows, "subject string, key string, value long")
    frame.coalesce(1).write.parquet(f"{scratch}/window")
    return spark.read.parquet(f"{scratch}/window")


def budgets(keys, variant):
    """Of the whole, of the selection, of each output."""
    if variant == "gaussian":
        rho = same.rho_of(same.EPSILON, same.DELTA)
        return tumult.RhoZCDPBudget(rho), None, tumult.RhoZCDPBudget(rho / 3)
    if keys == "public":
        return tumult.PureDPBudget(same.EPSILON), None, tumult.PureDPBudget(same.EPSILON / 3)
    # It does not publish the number with which it selects: a fourth part for the selection.
    part = same.EPSILON / 4
    return (
        tumult.ApproxDPBudget(same.EPSILON, same.DELTA),
        tumult.ApproxDPBudget(part, same.DELTA),
        tumult.ApproxDPBudget(part, 0),
    )


def release(frame, keys, whole, of_selection, of_output, rows=same.PUBLIC):
    opened = (
        tumult.Session.Builder()
        .with_privacy_budget(whole)
        .with_id_space("subjects")
        .with_private_dataframe("window", frame, tumult.AddRowsWithID("subject", "subjects"))
        .build()
    )
    if keys == "unknown":
        # It selects by records. One of each subject: else the threshold is five times as high.
        found = opened.evaluate(bounded(1).get_groups(["key"]), of_selection)
        rows = sorted(row[0] for row in found.collect())
    grouped = bounded(same.RECORDS_PER_KEY).groupby(tumult.KeySet.from_dict({"key": rows}))
    queries = (
        grouped.count_distinct(["subject"], name="n"),
        grouped.count(name="n"),
        grouped.sum("value", *same.CLAMP, name="n"),
    )
    result = {key: [] for key in rows}
    for query in queries:
        for row in opened.evaluate(query, of_output).collect():
            result[row["key"]].append(row["n"])
    return result


def bounded(records_per_key):
    return (
        tumult.QueryBuilder("window")
        .enforce(tumult.MaxGroupsPerID("key", same.KEYS_PER_SUBJECT))
        .enforce(tumult.MaxRowsPerGroupPerID("key", records_per_key))
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
