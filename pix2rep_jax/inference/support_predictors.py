"""A pretraining and masked scans as a function from scans to probabilities."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.in_context import (
    SETTINGS,
    Embed,
    Options,
    find_frame,
    make_support_predict,
    propagate,
    read_options,
)
from pix2rep_jax.inference.pixel_embeddings import load_embedding
from pix2rep_jax.inference.support_scans import SupportScans
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runtime.config_checks import check_values
from pix2rep_jax.runtime.progress_bar import open_progress_bar

__all__ = ["SupportPredictors", "load_support_predictors"]


class SupportPredictors(NamedTuple):
    """Functions from images to probabilities.

    Attributes:
        predict: Maps slices `[slices, height, width, channels]` to `[slices, height,
            width, num_classes]`, each on its own.
        predict_frames: Maps the frames of one scan, `[frames, slices, height, width,
            channels]`, to `[frames, slices, height, width, num_classes]`. If the
            support is one of these frames, its mask is taken through the others.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    predict_frames: Callable[[np.ndarray], np.ndarray]


def load_support_predictors(
    run: Path, scans: SupportScans, context: Mapping[str, Any]
) -> SupportPredictors:
    """Loads a pretrained network and embeds the support by it.

    Args:
        run: The folder of a pretraining run. Its `init.recalibrate` says whether
            BatchNorm's statistics are measured anew, on the support.
        scans: The support.
        context: Settings of the section `context`; the others have their defaults.

    Raises:
        InputError: If the run has no such embedding, or a setting makes no sense.
    """
    if unknown := sorted({*context} - {*SETTINGS}):
        raise InputError(
            f"the section context has no setting {unknown[0]!r}: it has "
            + ", ".join(SETTINGS)
        )
    checks = {f"context.{name}": check for name, check in SETTINGS.items()}
    check_values({f"context.{name}": x for name, x in context.items()}, checks)
    options = read_options({"context": context})
    embed = load_embedding(
        run,
        options.embedding,
        images=scans.images,
        boxes=scans.boxes,
        recalibrated=read_config(run)["init"]["recalibrate"],
    )
    predict = make_support_predict(
        embed,
        scans.images,
        scans.labels,
        scans.boxes,
        num_classes=len(scans.classes),
        options=options,
    )
    return SupportPredictors(
        predict,
        functools.partial(
            _predict_frames, predict, embed=embed, scans=scans, options=options
        ),
    )


def _predict_frames(
    predict: Callable[[np.ndarray], np.ndarray],
    frames: np.ndarray,
    *,
    embed: Embed,
    scans: SupportScans,
    options: Options,
) -> np.ndarray:
    """Takes the mask of one frame through the others, or predicts each on its own."""
    start = find_frame(frames, scans.images) if scans.volumes == 1 else None
    with open_progress_bar(
        len(frames), description="compare", unit="frame", delay_s=5, leave=False
    ) as bar:
        if start is None:
            found = []
            for each in frames:
                found.append(predict(each))
                bar.update()
            return np.stack(found)
        bar.update()  # the masked one
        return propagate(
            embed,
            frames,
            np.asarray(scans.labels),
            scans.boxes,
            start=start,
            num_classes=len(scans.classes),
            options=options,
            advance=bar.update,
        )
