"""Runs' folders that look as if something had been trained there."""

import numpy as np

from pix2rep_jax.data.files.axes import LAST
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.runs.manifest import open_run
from pix2rep_jax.runs.run_record import Origin, make_record


def make_split_of(**changes):
    """A split of two patients, each with one scan."""
    fields = {
        "pretrain_patients": ("patient001",),
        "labeled_patients": ("patient001",),
        "test_patients": ("patient002",),
        "left_out": {},
        "pretrain_slices": np.arange(3),
        "train_slices": np.arange(2),
        "val_slices": np.arange(2, 3),
        "test_volumes": (1,),
        "source": "phantom",
        "scans": {
            "patient001": {"patient001_ED": "a1 b1"},
            "patient002": {"patient002_ED": "a2 b2"},
        },
    }
    return Split(**(fields | changes))


def make_run_record(
    *, origin=None, num_steps=10, trained=("backbone",), split=None, slice_axis=LAST
):
    """The record of a run that starts now."""
    return make_record(
        num_steps=num_steps,
        trained=trained,
        origin=origin,
        split=split or make_split_of(),
        command=("main.py", "--mode", "pretrain"),
        slice_axis=slice_axis,
    )


def begin_run(folder, config, *, origin=None, **options):
    """Writes config.json and run.json; `origin` may be True for some network."""
    if origin is True:
        origin = Origin("/elsewhere/pretrain", 6, "1f")
    record = make_run_record(origin=origin, **options)
    return open_run(folder, config, record, begun=False)
