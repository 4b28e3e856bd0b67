"""A split as runs record it: it comes back, and damage is told."""

import json

import numpy as np
import pytest

from pix2rep_jax.data.split_record import Split
from pix2rep_jax.data.splits import make_split
from tests.support.patients import (
    make_data,
    make_dataset,
    make_volumes,
    number_scans,
)

TWIN = "its scan is a held-out patient's too"


def test_a_split_comes_back_from_json():
    """With every patient, slice, volume and scan that it had."""
    volumes = make_volumes(range(51, 91)) + make_volumes((118,), subset="testing")
    dataset = number_scans(make_dataset(volumes))
    split = make_split(dataset, make_data(num_labeled=3))
    fields = json.loads(json.dumps(split.to_dict()))
    assert fields["test_patients"] == ["patient118"]
    assert fields["left_out"] == {"patient055": TWIN}
    assert fields["test_volumes"] == [80, 81] and fields["source"] == "acdc"
    again = Split.from_dict(fields)
    for name, value in vars(split).items():
        np.testing.assert_equal(getattr(again, name), value)
    assert set(fields) == set(vars(split))


@pytest.mark.parametrize("value", [None, 5, "a", [5], {"a": 5}])
def test_what_is_no_split_is_refused(value):
    """Whatever field holds another thing than it should."""
    fields = make_split(make_dataset(make_volumes(range(1, 41))), make_data()).to_dict()
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        Split.from_dict(value)
    for name in set(fields) - {"source"}:
        if name == "left_out" and isinstance(value, dict):
            continue
        if value == [5] and name.endswith(("_slices", "_volumes")):
            continue
        with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
            Split.from_dict(fields | {name: value})
        if name == "val_patients":  # earlier runs lack it
            continue
        with pytest.raises(KeyError):
            Split.from_dict({x: y for x, y in fields.items() if x != name})


def test_scans_are_known_by_their_voxels_and_masks():
    """Masks play no part in pretraining, unless they say where to crop."""
    dataset = number_scans(make_dataset(make_volumes(range(1, 41))))

    def scans(**options):
        crop = options.pop("crop", "center")
        data = make_data(holdout_per_group=2, crop=crop)
        return make_split(dataset, data, **options).scans["patient001"]

    whole = {"patient001_ED": "image0 label0", "patient001_ES": "image1 label1"}
    bare = {"patient001_ED": "image0", "patient001_ES": "image1"}
    assert scans() == scans(draw_labeled=False, crop="mask_box") == whole
    assert scans(draw_labeled=False) == bare
