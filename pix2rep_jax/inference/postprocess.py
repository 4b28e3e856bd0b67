"""Test-time options: mirrored and turned copies, and the largest piece of a class."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.one_piece import NOTHING_KNOWN, OnePiece, find_pieces
from pix2rep_jax.data.slices.grid import PATCHED
from pix2rep_jax.methods.downstream.augmentation import finetuning_options
from pix2rep_jax.runs.run_record import RunRecord
from pix2rep_jax.runtime.config_checks import choice

__all__ = [
    "EVERY_PIECE",
    "FOREGROUND",
    "SETTINGS",
    "Motion",
    "Pieces",
    "average_motions",
    "choose_components",
    "choose_motions",
    "keep_largest",
    "known_motions",
    "pieces_of",
    "read_options",
    "shared_pieces",
]

FOREGROUND = "foreground"
"""The value of `predict.largest_component` that starts with all classes together."""

SETTINGS = {
    "mirror": choice("auto", True, False),
    "largest_component": choice("auto", True, False, FOREGROUND),
}
"""What this module reads of the configuration's section `predict`."""

MIRROR_BY_ITSELF = False
"""Whether "auto" mirrors and turns.

On ACDC it brought half a point in the mean, took eight times as long, and cost an
ensemble up to a point. On Hippocampus, where orientation tells the classes apart, it
cost 20 points (docs/results/notes.md).
"""

ENOUGH_PATIENTS = 5
"""From so many labelled patients on, "auto" keeps the largest pieces.

On ACDC's centred crops that brought nothing with one patient, and nearly a point with
five. The masks of fewer patients do not show that a structure never has several pieces.
But where several classes touch and make one piece, they are parts of one organ. There
it brought a point with one patient. It also brought 1 to 5 points where training sees
patches of more, so that much lies far from a structure. After UniMatch it brought half
a point to 3 (docs/results/notes.md, docs/results/ssl4mis.md).
"""


class Motion(NamedTuple):
    """A motion of a slice that puts pixels on pixels.

    Attributes:
        mirrored: Whether rows are reversed first.
        turns: Quarter turns after that, 0 to 3.
    """

    mirrored: bool
    turns: int


_STILL = Motion(False, 0)


class Pieces(NamedTuple):
    """What `keep_largest` keeps.

    Attributes:
        classes: The classes of which only the largest piece is kept.
        foreground: Whether only the largest piece of all classes together is kept
            first. A false structure elsewhere can be larger than the true one. It is
            hardly larger than all true ones together.
    """

    classes: tuple[int, ...] = ()
    foreground: bool = False

    def describe(self, names: Sequence[str]) -> str:
        """Names what is kept; "" if that is everything.

        Args:
            names: The names of all classes.
        """
        kept = ", ".join(names[each] for each in self.classes)
        whole = "the foreground" * self.foreground
        found = (f"the largest piece of {each}" for each in (kept, whole) if each)
        return " within ".join(found)


EVERY_PIECE = Pieces()
"""Nothing is removed."""


def read_options(config: Mapping[str, Any]) -> dict[str, bool | str]:
    """Reads the section `predict`; what a configuration leaves out is "auto"."""
    section = config.get("predict", {})
    return {name: section.get(name, "auto") for name in SETTINGS}


def known_motions(config: Mapping[str, Any], mode: str) -> tuple[Motion, ...]:
    """Lists the motions that a run's augmentation knew, no motion first.

    Args:
        config: The whole configuration of the run.
        mode: "finetune" or "probe". Probing never moves slices.

    Returns:
        Reversed rows and reversed columns if slices were mirrored. Turns as far as the
        largest rotation. If both, also one after the other.
    """
    if mode != "finetune":
        return (_STILL,)
    spatial = finetuning_options(ConfigDict(config["augment"]))["spatial"]
    if spatial is None or spatial.get("upright") is True:
        return (_STILL,)
    turns = {0}
    if spatial["rotation_probability"] > 0:
        reach = spatial["max_rotation"] + 1e-6
        turns |= {1, 3} if reach >= math.pi / 2 else set()
        turns |= {2} if reach >= math.pi else set()
    found = {Motion(False, turn) for turn in turns}
    if spatial["flip_probability"] > 0:  # of rows, or of columns: that is turned by two
        found |= {Motion(True, (flip + turn) % 4) for flip in (0, 2) for turn in turns}
    return tuple(sorted(found))


def choose_motions(known: Sequence[Motion], mirror: bool | str) -> Sequence[Motion]:
    """Selects the motions to use.

    Args:
        known: From `known_motions`.
        mirror: The setting `predict.mirror`.
    """
    wanted = MIRROR_BY_ITSELF if mirror == "auto" else mirror
    return known if wanted else known[:1]


def choose_components(
    config: Mapping[str, Any], record: RunRecord, wanted: bool | str
) -> Pieces:
    """Selects the pieces to keep.

    Args:
        config: The run's; `data.classes`, `data.crop` and `finetune.method` are read.
        record: The run's, which knows what is one piece in the training masks.
        wanted: The setting `predict.largest_component`.
    """
    classes = tuple(config["data"]["classes"])
    gains = (
        len(record.split.labeled_patients) >= ENOUGH_PATIENTS
        or config["data"]["crop"] in PATCHED
        or (record.one_piece.foreground and len(record.one_piece.classes) > 1)
        # A probe has the section too. Runs that are older than the setting lack it.
        or (
            "backbone" in record.trained
            and config["finetune"].get("method") == "unimatch"
        )
    )
    return pieces_of(
        classes, wanted, known=record.one_piece if gains else NOTHING_KNOWN
    )


def pieces_of(
    classes: Sequence[str], wanted: bool | str, *, known: OnePiece = NOTHING_KNOWN
) -> Pieces:
    """Selects the pieces that the setting asks for.

    Args:
        classes: Names of all classes, background first.
        wanted: The setting `predict.largest_component`.
        known: What "auto" goes by.
    """
    if wanted == "auto":
        kept = (name in known.classes for name in classes[1:])
        return Pieces(
            tuple(i for i, is_kept in enumerate(kept, 1) if is_kept), known.foreground
        )
    every = tuple(range(1, len(classes)))
    return Pieces(every, wanted == FOREGROUND) if wanted else EVERY_PIECE


def shared_pieces(chosen: Sequence[Pieces]) -> Pieces:
    """Selects the pieces that every network of an ensemble wants to keep."""
    classes = set.intersection(*({*each.classes} for each in chosen))
    return Pieces(tuple(sorted(classes)), all(each.foreground for each in chosen))


def average_motions(
    predict: Callable[[np.ndarray], np.ndarray], motions: Sequence[Motion]
) -> Callable[[np.ndarray], np.ndarray]:
    """Averages the probabilities of moved copies of slices, each moved back.

    Args:
        predict: Maps slices `[slices, height, width, channels]` to probabilities
            `[slices, height, width, num_classes]`.
        motions: From `known_motions`. Slices that are not square are not turned by one
            or three quarters.

    Returns:
        A function like `predict`, which takes as many times as long as there are
        motions.
    """
    if len(motions) < 2:
        return predict

    def averaged(images: np.ndarray) -> np.ndarray:
        square = images.shape[1] == images.shape[2]
        used = [motion for motion in motions if square or motion.turns % 2 == 0]
        moved = (_move_back(predict(_move(images, each)), each) for each in used)
        return functools.reduce(np.add, moved) / np.float32(len(used))

    return averaged


def _move(images: np.ndarray, motion: Motion) -> np.ndarray:
    """Moves slices `[slices, height, width, ...]`."""
    images = images[:, ::-1] if motion.mirrored else images
    return np.ascontiguousarray(np.rot90(images, motion.turns, axes=(1, 2)))


def _move_back(images: np.ndarray, motion: Motion) -> np.ndarray:
    """Undoes `_move`."""
    images = np.rot90(images, -motion.turns, axes=(1, 2))
    return images[:, ::-1] if motion.mirrored else images


def keep_largest(labels: np.ndarray, pieces: Pieces) -> np.ndarray:
    """Keeps the largest pieces; the others become background.

    Args:
        labels: `[rows, columns, slices]` or `[rows, columns, slices, frames]` uint8.
            Each frame is a volume of its own.
        pieces: What is kept.

    Returns:
        The same array, which is changed. Of two largest pieces the first is kept.
    """
    frames = labels if labels.ndim == 4 else labels[..., None]
    for frame in np.moveaxis(frames, 3, 0):
        if pieces.foreground:
            _remove_others(frame, frame > 0)
        for value in pieces.classes:
            _remove_others(frame, frame == value)
    return labels


def _remove_others(labels: np.ndarray, where: np.ndarray) -> None:
    """Makes all pieces of a structure background, except its largest one."""
    box, numbers = find_pieces(where)
    sizes = np.bincount(numbers.ravel())[1:]
    if len(sizes) > 1:
        labels[box][(numbers > 0) & (numbers != sizes.argmax() + 1)] = 0
