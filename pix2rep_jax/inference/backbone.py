"""A pretraining as a function from scans to the embeddings of their pixels."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.data.files.axes import AUTO, SliceRule
from pix2rep_jax.data.files.scan import Scan
from pix2rep_jax.data.slice_summary import Inputs
from pix2rep_jax.data.slices.grid import Grid
from pix2rep_jax.data.slices.resample import restore_values
from pix2rep_jax.errors import check_choice
from pix2rep_jax.inference.array_scan import ArrayScan
from pix2rep_jax.inference.given_scan import (
    Given,
    is_batch,
    read_given,
    read_scan_files,
)
from pix2rep_jax.inference.pixel_embeddings import (
    SLICES_AT_ONCE,
    load_embedding,
    load_segmenter_features,
)
from pix2rep_jax.inference.preparation import Preparation
from pix2rep_jax.inference.run_fields import scan_preparation
from pix2rep_jax.inference.scan_files import find_channels
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.start import find_pretraining

__all__ = ["GRIDS", "Backbone"]

GRIDS = ("network", "scan")
"""Where embeddings may lie: on the network's pixels, or on the scan's own."""

_ONE_CHANNEL = Inputs()


@dataclasses.dataclass(frozen=True, repr=False)
class Backbone:
    """Embeds the pixels of scans, prepared as those of its pretraining.

    Attributes:
        embed_network: Maps slices `[slices, height, width, channels]` on the network's
            grid to embeddings `[slices, height, width, d]`.
        preparation: How a scan is brought to the network's grid.
        embedding: "features" f(x), or "projection" (g∘f)(x).
        rule: How the axis of a scan's slices is found.
        inputs: What the run's scans have in common, such as their number of channels.

    >>> how = Preparation((0, 100), fov_mm=96, size=48)
    >>> two = lambda images: np.concatenate([images, 1 - images], -1)
    >>> backbone = Backbone(two, how)
    >>> backbone
    Backbone that gives each pixel its features
      sees 96 mm as 48 x 48 px, 1 channel, intensities of percentiles 0 to 100
    >>> scan = np.random.default_rng(0).random((50, 60, 3))
    >>> backbone.embed(scan, spacing_mm=(2, 2)).shape
    (3, 48, 48, 2)
    >>> backbone.embed(scan, spacing_mm=(2, 2), grid="scan").shape
    (3, 50, 60, 2)
    """

    embed_network: Callable[[np.ndarray], np.ndarray]
    preparation: Preparation
    embedding: str = "features"
    rule: SliceRule = AUTO
    inputs: Inputs = _ONE_CHANNEL

    @classmethod
    def load(
        cls, run: str | os.PathLike[str], *, embedding: str = "features"
    ) -> "Backbone":
        """Loads the network of a pretraining.

        Args:
            run: The folder of a pretraining, its workdir, or what `pretrain` returned;
                or a file of weights, its folder, or a name on the hub.
            embedding: "features", what segmentation heads use; or "projection", what
                the pretraining compares.

        Raises:
            InputError: If there is no such run, if its network cannot embed a scan
                without a mask, or if its method has no projection of pixels.
        """
        folder = find_pretraining(os.fspath(run))
        return cls._of_run(folder, load_embedding(folder, embedding), embedding)

    @classmethod
    def of_segmenter(cls, run: str | os.PathLike[str], *, keep: str = "") -> "Backbone":
        """Loads the features below the head of a segmenter.

        Args:
            run: The folder of a finetune or probe run.
            keep: As for `Segmenter.load`.

        Raises:
            InputError: If its network cannot embed a scan without a mask.
        """
        folder = Path(run)
        embed = load_segmenter_features(folder, keep=keep)
        return cls._of_run(folder, embed, "features")

    @classmethod
    def _of_run(
        cls,
        folder: Path,
        embed: Callable[[np.ndarray], np.ndarray],
        embedding: str,
    ) -> "Backbone":
        """Prepares scans as those of a run."""
        record = read_run(folder)
        fields = scan_preparation(folder, read_config(folder)["data"], record)
        rule = fields.pop("rule")
        return cls(embed, Preparation(**fields), embedding, rule, record.inputs)

    def __repr__(self) -> str:
        return (
            f"Backbone that gives each pixel its {self.embedding}\n"
            f"  sees {self.preparation.describe(self.inputs.channels)}"
        )

    def read(self, path: Path) -> Scan:
        """Reads all channels of a scan as its pretraining's scans were read.

        Args:
            path: The scan, or its first channel's file.

        Raises:
            InputError: As `read_scan_files`.
        """
        paths = find_channels(path, self.inputs.files)
        return read_scan_files(paths, self.rule, self.inputs)

    def embed(
        self,
        image: Given,
        *,
        grid: str = "network",
        spacing_mm: tuple[float, ...] | None = None,
    ) -> Any:
        """Embeds all pixels of a scan, or of several.

        Args:
            image: As for `Segmenter.predict`: a path, the paths of all channels, an
                image of nibabel, an array, or a list of such scans.
            grid: "network", or "scan" for the scan's own rows and columns.
            spacing_mm: As for `Segmenter.predict`.

        Returns:
            float32 `[slices, rows, columns, d]`; of a scan with several frames
            `[frames, slices, rows, columns, d]`; of a batch a list. Rows, columns and
            slices are those of the slices as the network sees them, which are the first
            three axes of most files. On the scan's grid, pixels outside of the
            network's field of view are 0.

        Raises:
            InputError: As `Segmenter.predict`, and if there is no such grid.
        """
        check_choice("grid", grid, GRIDS)
        if is_batch(image, self.inputs):
            options: dict[str, Any] = {"grid": grid, "spacing_mm": spacing_mm}
            return [self.embed(each, **options) for each in image]
        read = read_given(image, spacing_mm, self.rule, self.inputs)
        slices, frames = read.array.shape[2:4]
        found, place = self.embed_slices(read)
        result: np.ndarray | None = None
        for index, each in enumerate(found):
            if grid == "scan":
                each = restore_values(each, place)
            if result is None:
                result = np.empty((frames * slices, *each.shape), np.float32)
            result[index] = each
        assert result is not None
        if frames == 1:
            return result
        return result.reshape(frames, slices, *result.shape[1:])

    def embed_slices(self, read: ArrayScan | Scan) -> tuple[Iterator[np.ndarray], Grid]:
        """Embeds a scan that was read, a few slices at once.

        Args:
            read: From `read_given`.

        Returns:
            The embeddings `[height, width, d]` of each slice, frame by frame, which are
            computed while they are used; and where the network's pixels lie.
        """
        images, grid = self.preparation.prepare(read.array, spacing_mm=read.spacing_mm)

        def embeddings() -> Iterator[np.ndarray]:
            for start in range(0, len(images), SLICES_AT_ONCE):
                yield from self.embed_network(images[start : start + SLICES_AT_ONCE])

        return embeddings(), grid
