"""Paired differences between methods: same patients, same few-shot draws."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

__all__ = ["Difference", "bootstrap_interval", "paired_difference"]


class Difference(NamedTuple):
    """A method's score less another's.

    Attributes:
        mean: Over patients and draws.
        low: Lower end of the confidence interval.
        high: Its upper end.
        num_draws: Few-shot draws that both have.
        num_patients: Test patients that both have in all of these.
    """

    mean: float
    low: float
    high: float
    num_draws: int
    num_patients: int


def paired_difference(
    ours: Mapping[int, Mapping[str, float]],
    theirs: Mapping[int, Mapping[str, float]],
    *,
    confidence: float,
    resamples: int,
) -> Difference | None:
    """Compares two methods over the draws and patients that both were scored on.

    Args:
        ours: Scores by draw and test patient.
        theirs: The same of another method.
        confidence: Of the interval, between 0 and 1.
        resamples: Bootstrap samples of the patients.

    Returns:
        The difference, ours less theirs, each patient's first averaged over draws;
        None where the two have nothing in common.
    """
    draws = sorted(ours.keys() & theirs.keys())
    common = [ours[draw].keys() & theirs[draw].keys() for draw in draws]
    patients = sorted(set.intersection(*map(set, common))) if common else []
    if not patients:
        return None
    own = np.array([[ours[d][p] - theirs[d][p] for d in draws] for p in patients]).mean(
        1
    )
    low, high = bootstrap_interval(own, confidence=confidence, resamples=resamples)
    return Difference(float(own.mean()), low, high, len(draws), len(patients))


def bootstrap_interval(
    values: np.ndarray, *, confidence: float, resamples: int, seed: int = 0
) -> tuple[float, float]:
    """Computes the percentile bootstrap's confidence interval of a mean.

    Args:
        values: `[n]`, one a patient: patients are drawn, n at a time, with
            replacement.
        confidence: Of the interval, between 0 and 1.
        resamples: How often they are drawn.
        seed: Of the drawing.

    Returns:
        Its two ends.

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.
    """
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, len(values), (resamples, len(values)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[chosen].mean(1), [tail, 1 - tail])
    return float(low), float(high)
