"""The files of a data set, by what they are: scans, channels and masks."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pix2rep_jax.data.files.nifti_paths import FolderListing
from pix2rep_jax.data.layout.dataset_json import DatasetFacts

__all__ = ["Layout"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a data set, by what they are.

    Attributes:
        name: One of `known_layouts.LAYOUTS`.
        root: The folder.
        scans: For each scan its files, one per channel in their order. The scans of a
            testing subset are not among them.
        masks: The file of the mask of each scan that has one, also of testing ones.
        test_scans: Like `scans`, for the testing subset.
        patients: The patient of each scan, where the folders say it; else empty.
        facts: What `dataset.json` or `labels.json` say.
        unread: The folders whose other files were not read, as they were listed.
    """

    name: str
    root: Path
    scans: Mapping[str, tuple[Path, ...]]
    masks: Mapping[str, Path]
    test_scans: Mapping[str, tuple[Path, ...]] = dataclasses.field(default_factory=dict)
    patients: Mapping[str, str] = dataclasses.field(default_factory=dict)
    facts: DatasetFacts = dataclasses.field(default_factory=DatasetFacts)
    unread: Mapping[Path, FolderListing] = dataclasses.field(default_factory=dict)

    @property
    def num_channels(self) -> int:
        """The number of files per scan."""
        return len(next(iter({**self.scans, **self.test_scans}.values())))
