"""Dice of patients, read from what a run has written, with intervals of their mean."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.paired_bootstrap import bootstrap_interval

__all__ = ["CONFIDENCE", "FOREGROUND", "RESAMPLES", "Mean", "mean_dice", "read_dice"]

FOREGROUND = "mean_foreground"
"""The mean over the foreground classes of a volume."""

CONFIDENCE = 0.95
"""The level of every interval."""

RESAMPLES = 10_000

_ROUNDED = 1e-5
"""More than the means of numbers with six digits can differ by."""

_BEFORE = "dice_"


class Mean(NamedTuple):
    """A mean over patients, with the ends of its interval; NaN without any patient."""

    mean: float
    low: float
    high: float


def read_dice(path: Path) -> dict[str, dict[str, float]]:
    """Reads the Dice of each patient on the scans' own grids.

    Args:
        path: A run's per_volume.csv.

    Returns:
        By patient, then by class, "mean" or "mean_foreground": the mean over the
        patient's volumes; NaN where none of them has the class.

    Raises:
        InputError: If the file cannot be read, or its means are not those that
            evaluation.json beside it has: then lines were lost or changed.
    """
    found: dict[str, dict[str, list[float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["resolution"] != "native":
                    continue
                own = found.setdefault(row["patient"], {})
                for name, text in row.items():
                    if name.startswith(_BEFORE):
                        values = own.setdefault(name.removeprefix(_BEFORE), [])
                        values += [float(text)] if text else []
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({error}): start the command of its run again, "
            "which writes it anew"
        ) from error
    _check_means(path, found)
    return {
        patient: {
            name: fmean(values) if values else math.nan for name, values in own.items()
        }
        for patient, own in found.items()
    }


def _check_means(path: Path, found: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Raises InputError if a table's means are not those of evaluation.json."""
    try:
        content = (path.parent / "evaluation.json").read_text(encoding="utf-8")
        means = dict(json.loads(content)["dice"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing to compare with
    for name, mean in means.items():
        values = [x for own in found.values() for x in own.get(name, [])]
        if values and mean is not None and abs(fmean(values) - mean) > _ROUNDED:
            raise InputError(
                f"{path} gives a mean Dice of {fmean(values):.4f} for {name}, and "
                f"evaluation.json beside it {mean:.4f}: lines were lost or changed. "
                "Start the command of its run again, which writes both anew"
            )


def mean_dice(patients: Mapping[str, Mapping[str, float]], name: str) -> Mean:
    """Averages a class over patients, with the interval of a bootstrap over them.

    Args:
        patients: From `read_dice`.
        name: The class or the mean. Patients without it are left out.
    """
    values = [own[name] for own in patients.values() if not math.isnan(own[name])]
    if not values:
        return Mean(math.nan, math.nan, math.nan)
    low, high = bootstrap_interval(
        np.array(values)[:, None], confidence=CONFIDENCE, resamples=RESAMPLES
    )
    return Mean(fmean(values), low, high)
