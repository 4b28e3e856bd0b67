"""What one network gains over another on the same patients, as a plain sentence."""

import math
from collections.abc import Mapping

from pix2rep_jax.evaluation.paired_bootstrap import Difference, paired_difference
from pix2rep_jax.evaluation.patient_dice import CONFIDENCE, FOREGROUND, RESAMPLES
from pix2rep_jax.wording import count

__all__ = ["LEAST_PATIENTS", "describe_gain", "measure_gain"]

LEAST_PATIENTS = 5
"""Fewer patients give no interval: a bootstrap over them is far too narrow."""

Run = tuple[int, int]
"""The draw of the labelled patients, and the seed."""

Patients = Mapping[str, Mapping[str, float]]
"""Dice by patient and class, from `read_dice`."""


def measure_gain(
    ours: Mapping[Run, Patients],
    theirs: Mapping[Run, Patients],
    *,
    name: str = FOREGROUND,
) -> Difference | None:
    """Measures ours minus theirs over the runs and patients that both have.

    Args:
        ours: Dice by run.
        theirs: The same of what it is compared with.
        name: The class or the mean that is compared.

    Returns:
        The difference with its interval; None without a common patient.
    """
    both = [
        {
            run: {
                patient: own[name]
                for patient, own in patients.items()
                if not math.isnan(own.get(name, math.nan))
            }
            for run, patients in each.items()
        }
        for each in (ours, theirs)
    ]
    return paired_difference(*both, confidence=CONFIDENCE, resamples=RESAMPLES)


def describe_gain(gain: Difference, *, num_labeled: int) -> str:
    """Says in one sentence whether pretraining has helped.

    Args:
        gain: The pretrained network minus the one from random weights.
        num_labeled: Number of labelled patients of both.
    """
    mean, low, high = (100 * value for value in gain[:3])
    labels = f"with {count(num_labeled, 'labelled patient')}"
    if gain.num_patients < LEAST_PATIENTS:
        return (
            f"Pretraining changes the Dice by {mean:+.1f} points {labels}, but "
            f"{count(gain.num_patients, 'test patient')} cannot tell this from chance"
        )
    interval = f"interval {low:.1f} to {high:.1f}"
    if low > 0:
        return f"Pretraining gains {mean:.1f} points, {interval}, {labels}"
    if high < 0:
        interval = f"interval {-high:.1f} to {-low:.1f}"
        return f"Pretraining costs {-mean:.1f} points, {interval}, {labels}"
    return f"No difference can be seen {labels}: {mean:+.1f} points, {interval}"
