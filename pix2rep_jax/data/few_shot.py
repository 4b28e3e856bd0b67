"""Seeded draws of the patients that are labelled, and of the slices that validate."""

from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np

from pix2rep_jax.errors import InputError
from pix2rep_jax.wording import count

__all__ = ["KNOWN_DUPLICATES", "few_shot", "split_slices", "with_twins"]

KNOWN_DUPLICATES = (("patient074", "patient076"), ("patient055", "patient118"))
"""Pairs of ACDC's patients whose scans are the same images.

Patient 118 is in ACDC's test set.
"""


def few_shot(
    groups: Mapping[str, str],
    *,
    num_labeled: int,
    draw: int,
    seed: int = 0,
    duplicates: Collection[tuple[str, str]] = KNOWN_DUPLICATES,
    hint: str = "",
) -> tuple[str, ...]:
    """Draws the patients whose masks are used.

    Draws with the same `draw` and `seed` are nested: two patients are the first two of
    five. The numbers of patients per pathology differ by at most one, as long as there
    are enough patients of each. If two patients have the same scan, the second one
    comes after all others of its pathology.

    Args:
        groups: The pathology of each patient that may be drawn.
        num_labeled: Number of patients to draw, at least 1.
        draw: Number of the draw, from 0.
        seed: Seed of all draws.
        duplicates: Pairs of patients with the same scan.
        hint: What the error adds if there are fewer patients.

    Returns:
        The patients in the order drawn.

    Raises:
        InputError: If there are fewer patients, or if a number is out of range.
    """
    if num_labeled < 1 or draw < 0:
        raise InputError(
            f"data.num_labeled={num_labeled} and data.draw={draw} are out of range: "
            "set --config.data.num_labeled to 1 or more, and --config.data.draw to 0 "
            "or more"
        )
    if num_labeled > len(groups):
        fewer = "--config.data.num_labeled, " if groups else ""
        raise InputError(
            f"data.num_labeled={num_labeled}, but besides those held out there are "
            f"masks of only {count(len(groups), 'patient')}: lower {fewer}"
            "--config.data.holdout_per_group or --config.data.validation_patients, or "
            f"add masks{hint}"
        )
    seconds = {second for first, second in duplicates if {first, second} <= set(groups)}
    generator = np.random.default_rng([seed, draw])
    queues = []
    for name in generator.permutation(sorted(set(groups.values()))).tolist():
        members = sorted(patient for patient in groups if groups[patient] == name)
        order = generator.permutation(members).tolist()
        queues.append(sorted(order, key=seconds.__contains__))  # stable
    rounds = max(map(len, queues))
    drawn = [
        queue[place]
        for place in range(rounds)
        for queue in queues
        if place < len(queue)
    ]
    return tuple(drawn[:num_labeled])


def split_slices(
    slices: Sequence[Hashable],
    *,
    val_fraction: float = 0.1,
    seed: int | Sequence[int] = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides slices into those that train and those that validate.

    Args:
        slices: A key for what each slice shows. Slices with equal keys (of duplicate
            scans) stay on the same side.
        val_fraction: Share of the slices that validate, between 0 and 1. At least one
            slice is on either side, unless all show the same: then all train.
        seed: Seed of the division.

    Returns:
        Indices of the training and of the validation slices, sorted.

    Raises:
        InputError: If there are no slices, or if the fraction is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise InputError(
            f"data.val_fraction={val_fraction} must lie between 0 and 1, because some "
            "slices train and the others validate"
        )
    shown = {key: number for number, key in enumerate(dict.fromkeys(slices))}
    if not shown:
        raise InputError(
            "no slice of the labelled patients is annotated: raise "
            "--config.data.num_labeled, or name annotated patients by "
            "--config.data.labeled"
        )
    # With one picture, this is none.
    num_val = min(max(1, round(val_fraction * len(shown))), len(shown) - 1)
    chosen = np.random.default_rng(seed).permutation(len(shown))[:num_val]
    in_val = np.isin([shown[key] for key in slices], chosen)
    return np.flatnonzero(~in_val), np.flatnonzero(in_val)


def with_twins(
    patients: Collection[str], duplicates: Collection[tuple[str, str]]
) -> set[str]:
    """Adds the patients whose scans are the same images as those of a given one."""
    twins = (set(pair) for pair in duplicates)
    return set(patients).union(*(pair for pair in twins if pair & set(patients)))
