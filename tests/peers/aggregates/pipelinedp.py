"""The window by PipelineDP: local backend, one process.

    python3 pipelinedp.py FILE.ndjson KEYS VARIANT RUNS TO.json

KEYS: public or unknown. VARIANT: laplace or gaussian (epsilon and delta in equal parts), gaussian-pld (the
accountant of privacy loss distributions, which PipelineDP calls experimental), or laplace-geometric (the
default selection of unknown keys: truncated geometric, a fourth part of the budget).
"""

import importlib.metadata
import sys

import numpy
import pipeline_dp
from pipeline_dp import combiners

import same

SEED = 1  # of what is sampled; the noise is drawn in C++ and has no seed


def main(path, keys, variant, runs, to):
    rows = [(r["subject"], r[same.COLUMN[keys]], r["value"]) for r in same.records(path)]
    numpy.random.seed(SEED)
    before = before_noise()
    taken, published, bounded = [], [], []
    for _ in range(int(runs)):
        before.clear()
        took, rows_out = same.seconds(lambda: release(rows, keys, variant))
        taken.append(took)
        published.append({k: [m.privacy_id_count, m.count, m.sum] for k, m in rows_out})
        bounded.append(matched(rows_out, before))
    same.save(
        to,
        tool="PipelineDP",
        version=importlib.metadata.version("pipeline-dp"),
        keys=keys,
        variant=variant,
        seconds=taken,
        runs=published,
        bounded=bounded,
    )


def release(rows, keys, variant):
    noise = variant.split("-")[0]
    accountant = (
        pipeline_dp.PLDBudgetAccountant if variant.endswith("pld") else pipeline_dp.NaiveBudgetAccountant
    )(total_epsilon=same.EPSILON, total_delta=same.DELTA)
    engine = pipeline_dp.DPEngine(accountant, pipeline_dp.LocalBackend())
    params = pipeline_dp.AggregateParams(
        metrics=[
            pipeline_dp.Metrics.PRIVACY_ID_COUNT,
            pipeline_dp.Metrics.COUNT,
            pipeline_dp.Metrics.SUM,
        ],
        noise_kind=pipeline_dp.NoiseKind[noise.upper()],
        max_partitions_contributed=same.KEYS_PER_SUBJECT,
        max_contributions_per_partition=same.RECORDS_PER_KEY,
        min_value=same.CLAMP[0],
        max_value=same.CLAMP[1],
        # As a release does: the noisy number of subjects selects, and is published.
        post_aggregation_thresholding=keys == "unknown" and variant in ("laplace", "gaussian"),
        # Where it cannot, a fourth part of the budget selects, and its number is not published.
        partition_selection_strategy=pipeline_dp.PartitionSelectionStrategy[
            "GAUSSIAN_THRESHOLDING" if variant == "gaussian-pld" else "TRUNCATED_GEOMETRIC"
        ],
    )
    extractors = pipeline_dp.DataExtractors(
        privacy_id_extractor=lambda row: row[0],
        partition_extractor=lambda row: row[1],
        value_extractor=lambda row: row[2],
    )
    public = same.PUBLIC if keys == "public" else None
    result = engine.aggregate(rows, params, extractors, public_partitions=public)
    accountant.compute_budgets()
    return list(result)


def before_noise():
    """PipelineDP bounds anew in each run and does not say with what result: noted as it goes by."""
    seen = []
    compute = combiners.CompoundCombiner.compute_metrics

    def noting(self, accumulator):
        metrics = compute(self, accumulator)
        seen.append((metrics, accumulator[1]))
        return metrics

    combiners.CompoundCombiner.compute_metrics = noting
    return seen


def matched(rows_out, before):
    """Of published keys only. The order of the parts is that of PipelineDP's combiners: count, sum, subjects."""
    parts = {id(metrics): accumulators for metrics, accumulators in before}
    found = {}
    for key, metrics in rows_out:
        count, total, subjects = parts[id(metrics)]
        found[key] = [int(subjects), int(count), float(total)]
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
