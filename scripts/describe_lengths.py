"""The quantiles and the correlation of request lengths, as a named workload's record has them.

`python scripts/describe_lengths.py FILE` prints them of a CSV or JSONL file of real requests, which
itself is not kept. Name, source and date are added by hand: see tpdeploy/profiles/data/workloads.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist, correlation, fmean

from tpdeploy.harness.load.lengths import read_lengths

PERCENTS = (0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.9, 100)


def described(rows: Sequence[tuple[int, int]]) -> str:
    """The numbers of a record, as YAML."""
    prompts, answers = ([pair[side] for pair in rows] for side in (0, 1))
    scores = correlation(normal_scores(prompts), normal_scores(answers))
    lines = [f"requests: {len(rows)}"]
    for name, tokens in (("input", prompts), ("output", answers)):
        quantiles = ", ".join(f"{each:g}: {_at(tokens, each)}" for each in PERCENTS)
        lines += [f"{name}:", f"  mean: {fmean(tokens):.1f}", f"  quantiles: {{{quantiles}}}"]
    return "\n".join([*lines, f"correlation: {scores:.2f}"])


def normal_scores(values: Sequence[float]) -> list[float]:
    """The normal quantile of each value's rank; equal values share their middle."""
    order = sorted(range(len(values)), key=values.__getitem__)
    scores, first = [0.0] * len(values), 0
    while first < len(order):
        end = first
        while end < len(order) and values[order[end]] == values[order[first]]:
            end += 1
        score = NormalDist().inv_cdf((first + end) / 2 / len(values))
        for place in order[first:end]:
            scores[place] = score
        first = end
    return scores


def _at(values: Sequence[int], percent: float) -> int:
    ordered = sorted(values)
    return max(1, ordered[round(percent / 100 * (len(ordered) - 1))])


if __name__ == "__main__":
    print(described(read_lengths(Path(sys.argv[1]))))
