"""Pictures of runs: reads the runs' folders for `figures`, which knows none."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import jax
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.held_out import ways_to_test
from pix2rep_jax.data.layout.class_values import have_same_names, order_classes_like
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.report import GROUND_TRUTH_NOTE, read_foreground_dice
from pix2rep_jax.figures.drawing import save
from pix2rep_jax.figures.embedded_slices import embed_scans
from pix2rep_jax.figures.panels import predicted_panel
from pix2rep_jax.figures.predictions import choose_volumes, draw_predictions
from pix2rep_jax.figures.similarity import draw_comparison
from pix2rep_jax.inference.load_networks import load_predict
from pix2rep_jax.inference.pixel_embeddings import load_embed
from pix2rep_jax.runs.data_checks import (
    check_same_channels,
    check_same_data,
    check_unseen,
    is_scored_alike,
)
from pix2rep_jax.runs.manifest import make_folder, read_config
from pix2rep_jax.runs.metric_log import Series, read_metrics
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.start import SEGMENTERS
from pix2rep_jax.wording import for_caller

__all__ = [
    "compare_run",
    "draw_learned",
    "draw_scored",
    "in_network_order",
    "read_series",
    "write_picture",
]

T = TypeVar("T")


def read_series(runs: Sequence[Path]) -> dict[str, Series]:
    """Reads the metrics that runs have logged, by mode.

    Raises:
        InputError: If they have logged none yet.
    """
    paths = {run.name: run / "metrics.jsonl" for run in runs}
    series = {
        mode: read_metrics(path) for mode, path in paths.items() if path.is_file()
    }
    if not any(series.values()):
        raise InputError("no run has logged anything yet: let one go on for a while")
    return series


def compare_run(
    data: ConfigDict,
    dataset: Dataset,
    split: Split,
    run: Path,
    *,
    choose: Callable[..., T],
) -> T:
    """Embeds slices of three test patients by a pretraining run.

    Args:
        data: The `data` section that the data set was loaded by.
        dataset: All slices.
        split: Its test patients are taken.
        run: The pretraining run's folder.
        choose: `embed_scans`, or another function of `figures.embedded_slices`.

    Raises:
        InputError: If the run expects other data or has seen a test patient, or if it
            does not embed pixels.
    """
    check_same_data(data, read_config(run), run)
    record = read_run(run)
    check_same_channels(dataset.images.shape[-1], record.inputs.channels, run)
    check_unseen(split, record.split, run)
    return choose(dataset, split, load_embed(run), side=data.size)


def in_network_order(data: ConfigDict, runs: Sequence[Path]) -> ConfigDict:
    """Puts the classes of the data into the order of the first segmenter of some runs.

    Args:
        data: The `data` section of the configuration.
        runs: Folders of runs. Pretraining has no classes.

    Returns:
        The section itself if the classes have other names, or if no run segments.
    """
    segmenter = next((run for run in runs if run.name in SEGMENTERS), None)
    if segmenter is None:
        return data
    theirs = read_config(segmenter)["data"]["classes"]
    if not have_same_names(data.classes, theirs):
        return data
    return order_classes_like(data, theirs)


def draw_scored(
    data: ConfigDict,
    dataset: Dataset,
    split: Split,
    run: Path,
    *,
    evaluated: Path,
    keep: str = "",
) -> Figure:
    """Draws the best, the median and the worst test volume of a segmenter.

    Args:
        data: The `data` section that the data set was loaded by.
        dataset: All slices.
        split: Its test patients have been scored.
        run: The segmenter's folder.
        evaluated: Where `--mode evaluate` has written its scores.
        keep: As for `load_predict`.

    Raises:
        InputError: If the run expects other data or has not been scored on them.
    """
    if not split.test_volumes:
        raise InputError(
            "no patient with a mask was held out, so none is scored: "
            + ways_to_test(dataset.volumes)
        )
    check_same_data(data, read_config(run), run)
    channels = read_run(run).inputs.channels
    check_same_channels(dataset.images.shape[-1], channels, run)
    table = find_scores(data, split, run, evaluated=evaluated)
    classes, predict = tuple(data.classes), load_predict(run, keep=keep)
    index_of = {v.volume_id: i for i, v in enumerate(dataset.volumes)}
    panels = []
    for rank, volume_id in choose_volumes(read_foreground_dice(table)).items():
        if volume_id not in index_of:
            raise InputError(
                f"{table} scores {volume_id}, which is not in the configuration's "
                "data: run --mode evaluate on them"
            )
        volume = index_of[volume_id]
        panels.append(
            predicted_panel(predict, dataset, volume, rank=rank, classes=classes)
        )
    note = GROUND_TRUTH_NOTE if data.crop == "mask_box" else ""
    return draw_predictions(panels, classes=classes, mode=run.name, note=note)


def find_scores(data: ConfigDict, split: Split, run: Path, *, evaluated: Path) -> Path:
    """Finds the table with a segmenter's scores on the configuration's data.

    Raises:
        InputError: If it has not been scored on them.
    """
    trained_on = read_config(run)["data"]
    tables = [evaluated / run.name / "per_volume.csv"]
    same_place = all(data[name] == trained_on[name] for name in ("name", "root"))
    if same_place or is_scored_alike(read_run(run).split, split):
        tables.insert(0, run / "per_volume.csv")
    for table in tables:
        if table.is_file():
            return table
    raise InputError(
        f"the network in {run} has no scores on these scans: run --mode evaluate"
    )


def write_picture(figure: Figure, stem: Path) -> Path:
    """Writes a picture as PNG and PDF, and makes its folder if needed.

    Args:
        figure: The picture.
        stem: Its path without a suffix.

    Returns:
        The path of the PNG.

    Raises:
        InputError: If it cannot be written.
    """
    make_folder(stem.parent)
    try:
        return save(figure, stem)
    except OSError as error:
        raise InputError(
            f"{stem.parent} cannot be written ({error.strerror}): free some space or "
            "name another --workdir"
        ) from error


def draw_learned(data: ConfigDict, dataset: Dataset, split: Split, run: Path) -> str:
    """Draws what a pretraining run has learned: which pixels it takes to be alike.

    Args:
        data: The `data` section that the data set was loaded by.
        dataset: All slices.
        split: Its test patients are shown.
        run: The pretraining run's folder.

    Returns:
        A line that says where the picture is, or why there is none.
    """
    if jax.process_count() > 1:  # reading a checkpoint takes all processes
        return for_caller("--mode figures, in one process, draws what was learned")
    stem = run.parent / "figures" / "similarity"
    path = stem.with_suffix(".png")
    try:
        newest = (run / "checkpoints").stat().st_mtime
        if not (path.exists() and path.stat().st_mtime > newest):
            compared = compare_run(data, dataset, split, run, choose=embed_scans)
            figure = draw_comparison(*compared, classes=tuple(data.classes))
            path = write_picture(figure, stem)
    except Exception as error:  # the run has ended well, whatever becomes of a picture
        return f"note: there is no picture of what was learned ({error})"
    return f"what was learned: {path} shows the closest pixels of other patients"
