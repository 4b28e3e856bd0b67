"""Seeded draws: which patients are labelled, and which slices validate."""

from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np

from pix2rep_jax.errors import InputError

__all__ = ["KNOWN_DUPLICATES", "few_shot", "split_slices", "with_twins"]

KNOWN_DUPLICATES = (("patient074", "patient076"), ("patient055", "patient118"))
"""Patients of ACDC whose scans are the same images; the last one is in its test set."""


def few_shot(
    groups: Mapping[str, str],
    *,
    num_labeled: int,
    draw: int,
    seed: int = 0,
    duplicates: Collection[tuple[str, str]] = KNOWN_DUPLICATES,
) -> tuple[str, ...]:
    """Draws the patients whose masks are used.

    Draws of one number and seed are nested: the first two of a draw of five are the
    draw of two. Each has as many of one pathology as of any other, give or take one,
    as long as there are enough of it. Of two patients with the same scan the second
    comes after all others of its pathology.

    Args:
        groups: Pathology of each patient that may be drawn.
        num_labeled: How many to draw, from 1.
        draw: Number of the draw, from 0.
        seed: Of all draws.
        duplicates: Pairs of patients with the same scan.

    Returns:
        The patients in the order drawn.

    Raises:
        InputError: If there are fewer patients, or none is wanted.
    """
    if num_labeled < 1 or draw < 0:
        raise InputError(
            f"data.num_labeled={num_labeled} and data.draw={draw} make no draw: set at "
            "least 1 patient and draw 0"
        )
    if num_labeled > len(groups):
        fewer = "data.num_labeled, " if groups else ""
        raise InputError(
            f"data.num_labeled={num_labeled} patients are wanted, and {len(groups)} "
            f"have masks and are not held out: lower {fewer}data.holdout_per_group or "
            "data.validation_patients, or give more patients a mask"
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
        slices: What each slice shows; equal ones (of duplicate scans) stay together.
        val_fraction: Of the slices that validate, between 0 and 1; at least one
            slice is on either side.
        seed: Of the division.

    Returns:
        Indices of the training and of the validation slices, sorted.

    Raises:
        InputError: If there are fewer than two slices, or the fraction is none.
    """
    if not 0 < val_fraction < 1:
        raise InputError(
            f"data.val_fraction={val_fraction} must lie between 0 and 1: some slices "
            "train and some choose the checkpoint"
        )
    shown = {each: number for number, each in enumerate(dict.fromkeys(slices))}
    if len(shown) < 2:
        raise InputError(
            f"{len(shown)} labelled slice cannot be divided into training and "
            "validation: raise data.num_labeled"
        )
    num_val = min(max(1, round(val_fraction * len(shown))), len(shown) - 1)
    chosen = np.random.default_rng(seed).permutation(len(shown))[:num_val]
    in_val = np.isin([shown[each] for each in slices], chosen)
    return np.flatnonzero(~in_val), np.flatnonzero(in_val)


def with_twins(
    patients: Collection[str], duplicates: Collection[tuple[str, str]]
) -> set[str]:
    """Adds to patients those whose scans are the same images."""
    twins = (set(pair) for pair in duplicates)
    return set(patients).union(*(pair for pair in twins if pair & set(patients)))
