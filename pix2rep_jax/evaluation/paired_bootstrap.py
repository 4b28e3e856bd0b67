"""Paired differences between methods over the same patients, draws and seeds."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

__all__ = ["Difference", "bootstrap_interval", "paired_difference"]


class Difference(NamedTuple):
    """The score of one method minus the score of another.

    Attributes:
        mean: Mean over patients, draws and seeds.
        low: Lower end of the confidence interval.
        high: Upper end of the confidence interval.
        num_runs: Number of (draw, seed) pairs that both methods have.
        num_patients: Number of test patients that both have in all these runs.
        by_seed: The mean of each seed, in ascending order of the seeds.
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
        ours: Scores of one method by (draw, seed) and test patient.
        theirs: Scores of another method, in the same form.
        confidence: Level of the interval, between 0 and 1.
        resamples: Number of bootstrap samples.

    Returns:
        The difference, ours minus theirs, averaged per patient over the draws of a
        seed first. None if the two have no run or no patient in common.
    """
    runs = sorted(ours.keys() & theirs.keys())
    common = [ours[run].keys() & theirs[run].keys() for run in runs]
    patients = sorted(set.intersection(*map(set, common))) if common else []
    if not patients:
        return None
    runs_of = {seed: [run for run in runs if run[1] == seed] for _, seed in runs}
    differences = np.array(
        [
            [
                np.mean([ours[run][p] - theirs[run][p] for run in runs_of[seed]])
                for seed in sorted(runs_of)
            ]
            for p in patients
        ]
    )
    low, high = bootstrap_interval(
        differences, confidence=confidence, resamples=resamples
    )
    by_seed = tuple(differences.mean(0).tolist())
    return Difference(
        float(differences.mean()), low, high, len(runs), len(patients), by_seed=by_seed
    )


def bootstrap_interval(
    values: np.ndarray, *, confidence: float, resamples: int, seed: int = 0
) -> tuple[float, float]:
    """Computes the percentile bootstrap's confidence interval of a mean.

    Args:
        values: `[patients, seeds]`. Patients are drawn with replacement, as many as
            there are. Seeds are drawn in the same way, independently of the patients.
        confidence: Level of the interval, between 0 and 1.
        resamples: Number of bootstrap samples.
        seed: Seed of the random draws.

    Returns:
        Lower and upper end.

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993. For two factors:
        Owen, "The pigeonhole bootstrap", 2007.
    """
    generator = np.random.default_rng(seed)
    patients, seeds = (
        generator.integers(0, number, (resamples, number)) for number in values.shape
    )
    means = values[patients[:, :, None], seeds[:, None, :]].mean((1, 2))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
