"""What a run trains on and starts from: loaded, and checked to fit."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import other_slice_axis, reading_notes
from pix2rep_jax.data.dataset import Dataset, load_dataset
from pix2rep_jax.data.layout.patients import patients_note
from pix2rep_jax.data.slice_summary import describe_slices, usual_slice_axis
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.runs.checkpoint_steps import unfinished
from pix2rep_jax.runs.data_checks import (
    check_same_channels,
    check_unseen,
    is_same_data,
)
from pix2rep_jax.runs.dependencies import settings_of_all_hosts
from pix2rep_jax.runs.manifest import check_begun, check_place, read_config
from pix2rep_jax.runs.moved_scans import check_first_scan, remember_root
from pix2rep_jax.runs.pretrained_backbone import (
    TrainedBackbone,
    other_images_note,
    read_backbone,
)
from pix2rep_jax.runs.run_record import read_num_steps, read_run
from pix2rep_jax.runs.start import decide_start
from pix2rep_jax.runs.trackers import check_trackers
from pix2rep_jax.runtime.multihost import check_alike
from pix2rep_jax.training.sharding import make_mesh
from pix2rep_jax.wording import for_caller

__all__ = ["Loaded", "load", "print_notes"]


class Loaded(NamedTuple):
    """What a run trains on and starts from.

    Attributes:
        dataset: All slices.
        split: Which slices pretrain, train, validate and test.
        backbone: The pretrained backbone to start from; None for random weights.
        mesh: The devices.
    """

    dataset: Dataset
    split: Split
    backbone: TrainedBackbone | None
    mesh: Mesh


def load(
    config: ConfigDict, workdir: Path, mode: str, *, required_by: str = ""
) -> Loaded:
    """Loads the scans and the network to start from, and checks that they fit.

    Args:
        config: The whole configuration.
        workdir: The run's folder.
        mode: "pretrain", "probe" or "finetune".
        required_by: As for `decide_start`.

    Raises:
        InputError: If the workdir cannot be written or holds another run, if the scans
            or the network cannot be used, or if a test patient has pretrained.
    """
    check_place(workdir)
    # Before the data: a mistake here should not cost a minute.
    check_trackers(config.log)
    folder = Path(workdir) / mode
    begun = check_begun(folder, config.to_dict())
    if begun is not None:
        check_first_scan(config.data, read_config(folder)["data"], begun.split, folder)
    start = decide_start(config.init.checkpoint, workdir, mode, required_by=required_by)
    backbone = None
    if start is not None:
        backbone = read_backbone(
            config.model,
            start,
            named=config.init.checkpoint,
            classes=config.data.classes,
        )
        print_notes(
            other_images_note(config.data, start),
            unfinished(start, read_num_steps(start)),
        )
    dataset = load_dataset(config.data)
    print(describe_slices(dataset, config.data))
    print_notes(*reading_notes(dataset.volumes))
    follows = start is not None and is_same_data(
        config.data, read_config(start)["data"]
    )
    if config.data.name == "nifti" and not follows:  # the pretraining has said it
        print_notes(patients_note(dataset.volumes))
    split = make_split(dataset, config.data, draw_labeled=mode != "pretrain")
    if start is not None:
        pretraining = read_run(start)
        check_same_channels(
            dataset.images.shape[-1], pretraining.inputs.channels, start
        )
        check_unseen(split, pretraining.split, start)
        usual = usual_slice_axis(dataset)
        print_notes(other_slice_axis(pretraining.slice_axis, usual))
    origin = backbone and backbone.origin.digest
    check_alike(digest([settings_of_all_hosts(config), split.scans, origin]))
    remember_root(config.data, workdir, dataset)
    return Loaded(dataset, split, backbone, make_mesh())


def print_notes(*notes: str) -> None:
    """Prints the notes that are not empty on standard error."""
    for note in filter(None, notes):
        print(for_caller(note), file=sys.stderr)


def digest(content: Any) -> str:
    """Hashes what JSON can hold."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
