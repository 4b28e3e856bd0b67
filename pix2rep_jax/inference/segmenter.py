"""A finished run as a function from scans to masks, for notebooks and `predict`."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.data.files.axes import AUTO, SliceRule
from pix2rep_jax.data.files.scan import Scan
from pix2rep_jax.data.slice_summary import Inputs
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.errors import check_choice
from pix2rep_jax.inference.array_scan import ArrayScan
from pix2rep_jax.inference.ensemble import (
    Prediction,
    average_networks,
    check_same_task,
    mean_labels,
    mean_slices,
)
from pix2rep_jax.inference.given_scan import (
    Given,
    is_batch,
    read_given,
    read_scan_files,
)
from pix2rep_jax.inference.in_context import part_size
from pix2rep_jax.inference.postprocess import (
    EVERY_PIECE,
    Pieces,
    keep_largest,
    shared_pieces,
)
from pix2rep_jax.inference.predict import BATCH_SIZE, predict_scan
from pix2rep_jax.inference.preparation import Preparation
from pix2rep_jax.inference.run_fields import restore_fields, support_fields
from pix2rep_jax.runs.checkpoint_steps import BEST, LAST
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.start import find_ensemble, find_pretraining
from pix2rep_jax.wording import count

__all__ = ["Segmenter"]

_ONE_CHANNEL = Inputs()


@dataclasses.dataclass(frozen=True, repr=False)
class Segmenter:
    """Segments scans, prepared in the same way as the run's training data.

    >>> half = lambda images: np.full((*images.shape[:3], 2), 0.5, np.float32)
    >>> segmenter = Segmenter(("BG", "LV"), half, (1, 99), fov_mm=160, size=64)
    >>> segmenter
    Segmenter of BG, LV by 1 network
      sees 160 mm as 64 x 64 px, 1 channel, intensities of percentiles 1 to 99
      keeps every piece of each class
    >>> scan = np.random.default_rng(0).random((50, 60, 3))
    >>> segmenter.predict(scan, spacing_mm=(1.5, 1.5, 8)).shape
    (50, 60, 3)
    >>> masks = segmenter.predict([scan, scan[..., :2]], spacing_mm=(1.5, 1.5, 8))
    >>> len(masks), masks[1].shape
    (2, (50, 60, 2))

    Attributes:
        classes: Names of the labels 0, 1, …
        predict_network: Maps slices `[slices, height, width, channels]` on the
            network's grid to probabilities `[slices, height, width, num_classes]`.
        percentiles: Percentiles of a volume's intensities that are mapped to 0 and 1.
        fov_mm: What `size` pixels measure, mm.
        size: Side of the network's grid, or of a patch, px.
        interpolation: How a scan's pixels become the network's.
        rule: How the axis of a scan's slices is found.
        batch_size: Slices that the network predicts at once.
        window: Intensities that are mapped to 0 and 1 in place of the percentiles.
        inputs: What the run's scans have in common, such as their number of channels.
        pieces: Which pieces of a volume are kept.
        weight: How many networks `predict_network` is the mean of.
        others: Networks on other grids, whose probabilities are averaged with these on
            the scan's grid.
        predict_frames: Maps the frames of one scan, `[frames, slices, height, width,
            channels]`, to probabilities together; None predicts each slice on its own.
        crop: "center", or "middle" or "whole", which see more than a patch.
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
    inputs: Inputs = _ONE_CHANNEL
    pieces: Pieces = EVERY_PIECE
    weight: int = 1
    others: tuple["Segmenter", ...] = ()
    crop: str = "center"
    predict_frames: Callable[[np.ndarray], np.ndarray] | None = dataclasses.field(
        default=None, repr=False
    )

    @classmethod
    def from_support(
        cls,
        run: str | Path,
        support: str | Path,
        *,
        classes: Sequence[str] = (),
        label_values: Sequence[int] = (),
        data: Mapping[str, Any] | None = None,
        **context: Any,
    ) -> "Segmenter":
        """Makes a segmenter of a pretraining and a few masked scans, without training.

        Every pixel takes the class of the support pixels whose embeddings are most like
        its own. If the support is one scan, and a frame of the scan to segment, its
        mask is taken through the other frames one by one.

        Args:
            run: The folder of a pretraining run, or its workdir.
            support: A folder of scans and masks in any layout, or the file of one scan
                or of its mask, which lies beside it as `NAME_seg` or `NAME_gt`.
            classes: Names of the classes, background first; () takes those that the
                folder names, or else the run's.
            label_values: The value of each class in the masks; () for 0, 1, 2, …
            data: Settings of the configuration's section `data` for the support, such
                as `{"ignore": (255,)}` or `{"fourth_axis": "frames"}`.
            **context: Settings of the configuration's section `context`, such as
                `neighbours=31`. The others are the run's.

        Raises:
            InputError: If there is no such run, or the support cannot be used.
        """
        run = find_pretraining(run)
        fields = support_fields(
            run,
            support,
            classes=classes,
            label_values=label_values,
            settings=data or {},
            context=context,
        )
        return cls(**fields)

    @classmethod
    def load(
        cls,
        workdir: str | Path | Sequence[str | Path],
        *,
        mirror: bool | str = "auto",
        largest_component: bool | str = "auto",
        keep: str = "",
    ) -> "Segmenter":
        """Loads the network of a run, or those of several runs as an ensemble.

        A run that is not finished yet gives a warning.

        Args:
            workdir: A run's folder, or its subfolder `finetune` or `probe`. In a run's
                folder fine-tuning is preferred to probing. The folder of a
                cross-validation, and a list of folders, give the mean of probabilities.
            mirror: As `predict.mirror` of the configuration.
            largest_component: As `predict.largest_component`.
            keep: "last" or "best", the checkpoint; "" is what each run keeps.

        Raises:
            InputError: If there is no such network, or if two were not trained for the
                same task. Also if one was trained on crops that need the expert's mask,
                because a new scan has none.
        """
        if isinstance(workdir, str | os.PathLike):
            workdir = [workdir]
        runs = find_ensemble(workdir)
        configs = {run: read_config(run) for run in runs}
        records = {run: read_run(run) for run in runs}
        check_same_task(configs, records)
        check_choice("keep", keep, ("", LAST, BEST))
        options = {"mirror": mirror, "largest_component": largest_component}
        members = [
            cls(**restore_fields(run, configs[run], records[run], **options, keep=keep))
            for run in runs
        ]
        return _join(members)

    def __repr__(self) -> str:
        networks = sum(each.weight for each in self.members)
        pieces = self.pieces.describe(self.classes) or "every piece of each class"
        channels = self.inputs.channels
        seen = (each.preparation.describe(channels) for each in self.members)
        return (
            f"Segmenter of {', '.join(self.classes)} by {count(networks, 'network')}\n"
            f"  sees {'; or '.join(seen)}\n"
            f"  keeps {pieces}"
        )

    @property
    def members(self) -> tuple["Segmenter", ...]:
        """The networks of each grid."""
        return (self, *self.others)

    @property
    def preparation(self) -> Preparation:
        """How scans are brought to this grid."""
        names = Preparation._fields
        return Preparation(**{name: getattr(self, name) for name in names})

    def predict(
        self,
        scan: Given,
        *,
        spacing_mm: tuple[float, ...] | None = None,
    ) -> Any:
        """Segments a scan, or several.

        Args:
            scan: The path of a NIfTI file or a picture, the paths of all channels of a
                case, an image of nibabel, or an array of real numbers. An array has the
                axes of a file: `[rows, columns]`, or three axes of which one is the
                slices', and perhaps a further one for frames. Each frame is segmented
                on its own. If the network expects several channels, they are the last
                axis; then an array has no frames. A list of such scans is a batch.
            spacing_mm: Voxel size of an array along its axes, mm. With two numbers the
                slices lie along its third axis. With three the axis is found as that of
                a file. A file has its own spacing.

        Returns:
            uint8 labels in the shape of the scan, without its channels; of a batch a
            list of them.

        Raises:
            InputError: If the scan cannot be read or has another number of channels
                than the network expects, or if an array lacks its spacing.
        """
        if is_batch(scan, self.inputs):
            return [self.predict(each, spacing_mm=spacing_mm) for each in scan]
        read = read_given(scan, spacing_mm, self.rule, self.inputs)
        labels = mean_labels(self._predict_all(read), shape=read.array.shape[:4])
        labels = keep_largest(labels, self.pieces)
        return read.axes.to_file(labels).reshape(read.file_shape)

    def predict_probabilities(
        self,
        scan: Given,
        *,
        spacing_mm: tuple[float, ...] | None = None,
    ) -> Any:
        """Computes the probability of each class; the arguments are those of `predict`.

        Returns:
            float32, in the shape of the labels with a last axis of classes, over which
            they sum to 1. Outside the network's field of view background has
            probability 1. Of a batch a list of them.

        Raises:
            InputError: As `predict`.
        """
        if is_batch(scan, self.inputs):
            return [
                self.predict_probabilities(each, spacing_mm=spacing_mm) for each in scan
            ]
        read = read_given(scan, spacing_mm, self.rule, self.inputs)
        shape = read.array.shape[:4]
        result = np.zeros((*shape, len(self.classes)), np.float32)
        for index, each in enumerate(mean_slices(self._predict_all(read))):
            frame, place = divmod(index, shape[2])
            result[:, :, place, frame] = each
        return read.axes.to_file(result).reshape(*read.file_shape, len(self.classes))

    def _predict_all(self, read: ArrayScan | Scan) -> list[Prediction]:
        """Predicts a scan by the networks of each grid."""
        predictions = []
        for each in self.members:
            images, grid = each.prepare(read.array, spacing_mm=read.spacing_mm)
            probabilities = each.predict_scan(images, frames=read.array.shape[3])
            predictions.append(Prediction(probabilities, grid, each.weight))
        return predictions

    def predict_scan(self, images: np.ndarray, *, frames: int) -> Iterable[np.ndarray]:
        """Predicts all slices of a scan.

        Args:
            images: From `prepare`.
            frames: The number of frames in them.

        Returns:
            The probabilities `[height, width, num_classes]` of each slice, which are
            computed while they are used; those of several frames may be there at once.
        """
        if self.predict_frames is None or frames == 1:
            # Comparing pixels takes long, and so each part is given out by itself.
            compares = self.predict_frames is not None
            return predict_scan(
                self.predict_network,
                images,
                batch_size=self.batch_size,
                most=part_size(images.shape[1:3]) if compares else None,
            )
        found = self.predict_frames(images.reshape(frames, -1, *images.shape[1:]))
        return [*found.reshape(-1, *found.shape[2:])]

    def prepare(
        self, array: np.ndarray, *, spacing_mm: tuple[float, ...]
    ) -> tuple[np.ndarray, Grid]:
        """Brings a scan to the network's grid, as `Preparation.prepare` does."""
        return self.preparation.prepare(array, spacing_mm=spacing_mm)

    def read_files(self, paths: Sequence[Path]) -> Scan:
        """Reads the files of a scan.

        Args:
            paths: One file per channel, or one file that holds all channels.

        Raises:
            InputError: If a file cannot be read, if there are more or fewer channels
                than the network expects, or if a picture lacks its pixel size.
        """
        return read_scan_files(paths, self.rule, self.inputs)


def _join(members: Sequence[Segmenter]) -> Segmenter:
    """Makes one segmenter of several; those of one grid share its slices."""
    groups: dict[Any, list[Segmenter]] = {}
    for each in members:
        how = (each.percentiles, each.window, each.fov_mm, each.size)
        groups.setdefault((*how, each.interpolation, each.crop), []).append(each)
    first, *others = (
        dataclasses.replace(
            group[0],
            predict_network=average_networks([each.predict_network for each in group]),
            weight=len(group),
        )
        for group in groups.values()
    )
    pieces = shared_pieces([each.pieces for each in members])
    return dataclasses.replace(first, others=tuple(others), pieces=pieces)
