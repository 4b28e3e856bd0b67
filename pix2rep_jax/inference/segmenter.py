"""A finished run as a function from scans to masks, for notebooks and `predict`."""

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data import nifti, resample
from pix2rep_jax.data.axes import AS_STORED, AUTO, Axes, SliceRule, find_axes
from pix2rep_jax.data.dataset import field_of_view_mm
from pix2rep_jax.data.grid import Grid, centre_grid
from pix2rep_jax.data.normalization import (
    Normalization,
    intensity_range,
    read_normalization,
)
from pix2rep_jax.data.scan_notes import count_notes
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.predict import BATCH_SIZE, make_predictors, restore_scan
from pix2rep_jax.methods.downstream.mean_teacher import networks_of_state
from pix2rep_jax.models.build import make_segmentation_net
from pix2rep_jax.runs.checkpoint_reader import restore_model, unfinished
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.start import find_segmenters

__all__ = ["Segmenter", "load_predict", "load_predictors"]

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Segmenter:
    """Segments scans, prepared in the same way as the run's training data.

    Attributes:
        classes: Names of the labels 0, 1, …
        predict_network: Maps slices `[slices, height, width]` on the network's grid to
            probabilities `[slices, height, width, num_classes]`.
        percentiles: Percentiles of a volume's intensities that are mapped to 0 and 1.
        fov_mm: Side of the square field of view, mm.
        size: Side of the network's grid, px.
        interpolation: How a scan's pixels become the network's.
        rule: How the axis of a scan's slices is found.
        batch_size: Slices that the network predicts at once.
        window: Intensities that are mapped to 0 and 1 in place of the percentiles.
    """

    classes: tuple[str, ...]
    predict_network: Callable[[np.ndarray], np.ndarray] = dataclasses.field(repr=False)
    percentiles: tuple[float, float]
    fov_mm: float
    size: int
    interpolation: str = "linear"
    rule: SliceRule = AUTO
    batch_size: int = BATCH_SIZE
    window: tuple[float, ...] = ()

    @classmethod
    def load(cls, workdir: str | Path) -> "Segmenter":
        """Loads the network of a run. A run that is not finished yet gives a warning.

        Args:
            workdir: A run's folder, or its subfolder `finetune` or `probe`. In a run's
                folder fine-tuning is preferred to probing.

        Raises:
            InputError: If there is no such network. Also if it was trained on crops
                that need the expert's mask, because a new scan has none.
        """
        run = find_segmenters(workdir)[0]
        if note := unfinished(run):
            _LOG.warning(note)
        data = read_config(run)["data"]
        if data["crop"] != "center":
            raise InputError(
                f"the network in {run} was trained on crops around the expert's masks "
                f"(data.crop={data['crop']}), so it cannot segment a scan without a "
                "mask: train one with --config.data.crop=center in another workdir"
            )
        return cls(
            classes=tuple(data["classes"]),
            predict_network=load_predict(run),
            percentiles=tuple(data["percentiles"]),
            window=read_normalization(data).window,
            fov_mm=field_of_view_mm(data),
            size=data["size"],
            interpolation=data["interpolation"],
            rule=SliceRule(
                data["slice_axis"], data["orientation"], read_run(run).slice_axis
            ),
        )

    def predict(
        self,
        scan: str | Path | np.ndarray,
        *,
        spacing_mm: tuple[float, ...] | None = None,
    ) -> np.ndarray:
        """Segments a scan.

        Args:
            scan: The path of a NIfTI file, or an array of real numbers with the axes of
                a file: `[rows, columns]`, or three axes of which one is the slices',
                and perhaps a fourth for frames. Each frame is segmented on its own.
            spacing_mm: Voxel size of an array along its axes, mm. With two numbers the
                slices lie along its third axis. With three the axis is found as that of
                a file. A file has its own spacing.

        Returns:
            uint8 labels in the shape of the scan.

        Raises:
            InputError: If the scan cannot be read, or an array lacks its spacing.
        """
        read = _read(scan, spacing_mm, self.rule)
        images, grid = self.prepare(read.array, spacing_mm=read.spacing_mm)
        labels = restore_scan(
            self.predict_network(images), grid, shape=read.array.shape
        )
        return read.axes.to_file(labels).reshape(read.shape)

    def predict_probabilities(
        self,
        scan: str | Path | np.ndarray,
        *,
        spacing_mm: tuple[float, ...] | None = None,
    ) -> np.ndarray:
        """Computes the probability of each class; the arguments are those of `predict`.

        Returns:
            float32 `[*scan.shape, num_classes]`, which sum to 1 over the classes.
            Outside the network's field of view background has probability 1.

        Raises:
            InputError: If the scan cannot be read, or an array lacks its spacing.
        """
        read = _read(scan, spacing_mm, self.rule)
        images, grid = self.prepare(read.array, spacing_mm=read.spacing_mm)
        *plane, slices, frames = _with_frames(read.array).shape
        result = np.zeros((*plane, slices, frames, len(self.classes)), np.float32)
        for index, each in enumerate(self.predict_network(images)):
            frame, place = divmod(index, slices)
            result[:, :, place, frame] = resample.restore_probabilities(each, grid)
        result = result.reshape(*read.array.shape, len(self.classes))
        return read.axes.to_file(result).reshape(*read.shape, len(self.classes))

    def prepare(
        self, array: np.ndarray, *, spacing_mm: tuple[float, ...]
    ) -> tuple[np.ndarray, Grid]:
        """Brings a scan to the network's grid; each frame is normalised on its own.

        Args:
            array: float32 `[rows, columns, slices]`, or with a fourth axis of frames.
            spacing_mm: Distance of rows and of columns, mm.

        Returns:
            `[slices, height, width]` in [0, 1], the slices of one frame after those of
            another; and the grid of all of them.

        Raises:
            InputError: If a frame shows nothing.
        """
        grid = centre_grid(
            array.shape[:2], spacing_mm[:2], fov_mm=self.fov_mm, size=self.size
        )
        images, how = [], Normalization(self.percentiles, self.window)
        for frame in np.moveaxis(_with_frames(array), 3, 0):
            planes = np.moveaxis(frame, 2, 0)
            images.append(
                resample.resample_image(
                    planes,
                    grid,
                    interpolation=self.interpolation,
                    stretch=intensity_range(planes, how),
                )
            )
        return np.concatenate(images), grid


def load_predict(run: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Loads the result of a segmentation run, at its best step.

    Args:
        run: The folder of a finetune or probe run.

    Returns:
        A function from slices `[slices, height, width]` to probabilities
        `[slices, height, width, num_classes]`.
    """
    return next(iter(load_predictors(run).values()))


def load_predictors(
    run: Path, *, batch_size: int = BATCH_SIZE
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Loads all networks of a segmentation run, at the step where its result is best.

    Args:
        run: The folder of a finetune or probe run.
        batch_size: Number of slices predicted at once.

    Returns:
        Functions like that of `load_predict`, by the names that
        `mean_teacher.networks_of_state` gives. The run's result comes first.
    """
    config = ConfigDict(read_config(run))
    net = make_segmentation_net(config, scratch=read_run(run).origin is None)
    networks = networks_of_state(config, *restore_model(run))
    return make_predictors(net, networks, batch_size=batch_size)


class _Scan(NamedTuple):
    """A scan with its slices along the third axis.

    Attributes:
        array: float32 `[rows, columns, slices]`, or with a fourth axis of frames.
        spacing_mm: Distance of rows and of columns, mm.
        axes: How the axes of what was given became these.
        shape: The shape of what was given.
    """

    array: np.ndarray
    spacing_mm: tuple[float, ...]
    axes: Axes
    shape: tuple[int, ...]


def _read(scan: Any, spacing_mm: tuple[float, ...] | None, rule: SliceRule) -> _Scan:
    """Reads a file or an array, and turns it; notes on that are logged."""
    if isinstance(scan, str | os.PathLike):
        volume = nifti.read_volume(os.fspath(scan), rule)
        _log(volume.notes, name=str(scan))
        shape = volume.header.get_data_shape()
        return _Scan(volume.array, volume.spacing_mm, volume.axes, shape)
    array = _check_array(scan)
    spacing = np.atleast_1d(np.asarray(spacing_mm))[:3]
    is_length = spacing.dtype.kind in "iuf" and len(spacing) > 1
    if not (is_length and np.isfinite(spacing).all() and (spacing > 0).all()):
        raise InputError(
            "an array does not say how large its voxels are: give spacing_mm=(rows, "
            f"columns, slices) in mm, all above 0 (it is {spacing_mm})"
        )
    axes, sizes = AS_STORED, tuple(spacing.tolist())
    if len(sizes) == 3 and array.ndim > 2:
        axes, _, notes = find_axes(array.shape[:3], sizes, None, rule)
        _log(notes, name="the array")
        sizes = axes.of_slices(sizes)
    turned = axes.to_slices(array[..., None] if array.ndim == 2 else array)
    return _Scan(turned, sizes[:2], axes, array.shape)


def _check_array(scan: Any) -> np.ndarray:
    """Returns what was given as a float32 array.

    Raises:
        InputError: If it is not an array of finite real numbers, or has other axes than
            a scan.
    """
    try:
        scan = np.asarray(scan)
        is_real = scan.dtype.kind in "biuf" or scan.dtype.name == "bfloat16"
    except ValueError:  # lists of different lengths
        is_real = False
    if not is_real:
        raise InputError(
            f"a scan cannot be a {type(scan).__name__}: give an array of real numbers, "
            "or the path of a NIfTI file"
        )
    if scan.ndim not in (2, 3, 4) or not scan.size:
        raise InputError(
            f"a scan cannot have the shape {scan.shape}: give an array [rows, columns, "
            "slices], with or without a further axis for frames"
        )
    with np.errstate(over="ignore"):
        scan = scan.astype(np.float32)
    if not np.isfinite(scan).all():
        raise InputError(
            "the array holds values that are not finite in float32: replace them first"
        )
    return scan


def _log(notes: tuple[str, ...], *, name: str) -> None:
    """Logs what a user should know of how a scan was read."""
    for sentence in count_notes([(name, notes)]):
        _LOG.warning(sentence)


def _with_frames(array: np.ndarray) -> np.ndarray:
    """Adds an axis of frames where there is none."""
    return array if array.ndim == 4 else array[..., None]
