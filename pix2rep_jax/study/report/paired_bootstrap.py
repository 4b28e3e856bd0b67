"""Paired differences between methods: same patients, few-shot draws and seeds."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

__all__ = ["Difference", "bootstrap_interval", "paired_difference"]


class Difference(NamedTuple):
    """A method's score less another's.

    Attributes:
        mean: Over patients, draws and seeds.
        low: Lower end of the confidence interval.
        high: Its upper end.
        num_runs: Pairs of a few-shot draw and a seed that both have.
        num_patients: Test patients that both have in all of these.
        by_seed: The mean of each seed, in their order.
    """

    mean: float
    low: float
    high: float
    num_runs: int
    num_patients: int
    by_seed: tuple[float, ...]


def paired_difference(
    ours: Mapping[tuple[int, int], Mapping[str, float]],
    theirs: Mapping[tuple[int, int], Mapping[str, float]],
    *,
    confidence: float,
    resamples: int,
) -> Difference | None:
    """Compares two methods over the runs and patients that both were scored on.

    Args:
        ours: Scores by (draw, seed) and test patient.
        theirs: The same of another method.
        confidence: Of the interval, between 0 and 1.
        resamples: Bootstrap samples of the patients, and of the seeds.

    Returns:
        The difference, ours less theirs, each patient's first averaged over the draws
        of a seed; None where the two have nothing in common.
    """
    runs = sorted(ours.keys() & theirs.keys())
    common = [ours[run].keys() & theirs[run].keys() for run in runs]
    patients = sorted(set.intersection(*map(set, common))) if common else []
    if not patients:
        return None
    of_seed = {seed: [run for run in runs if run[1] == seed] for _, seed in runs}
    own = np.array(
        [
            [
                np.mean([ours[run][p] - theirs[run][p] for run in of_seed[seed]])
                for seed in sorted(of_seed)
            ]
            for p in patients
        ]
    )
    low, high = bootstrap_interval(own, confidence=confidence, resamples=resamples)
    by_seed = tuple(own.mean(0).tolist())
    return Difference(
        float(own.mean()), low, high, len(runs), len(patients), by_seed=by_seed
    )


def bootstrap_interval(
    values: np.ndarray, *, confidence: float, resamples: int, seed: int = 0
) -> tuple[float, float]:
    """Computes the percentile bootstrap's confidence interval of a mean.

    Args:
        values: `[patients, seeds]`: patients are drawn with replacement, as many as
            there are, and so, independently, are seeds.
        confidence: Of the interval, between 0 and 1.
        resamples: How often both are drawn.
        seed: Of the drawing.

    Returns:
        Its two ends.

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993; of patients and
        seeds, Owen, "The pigeonhole bootstrap", 2007.
    """
    generator = np.random.default_rng(seed)
    patients, seeds = (
        generator.integers(0, number, (resamples, number)) for number in values.shape
    )
    means = values[patients[:, :, None], seeds[:, None, :]].mean((1, 2))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
