"""Which values of the masks stand for the classes: settings, dataset.json, networks."""

import json

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.layout.class_values import (
    find_class_values,
    have_same_names,
    order_classes_like,
    values_note,
)
from pix2rep_jax.data.volume_list import list_volumes
from pix2rep_jax.errors import InputError

CLASSES = ("BG", "RV", "MYO", "LV")


def make_data(root, **changes):
    data = get_config("quick").data
    data.update(name="nifti", root=str(root), classes=CLASSES)
    data.update(changes)
    return data


def write_labels(root, labels):
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))


def refuse(data, match):
    """The one sentence with which a data set is refused."""
    with pytest.raises(InputError, match=match) as caught:
        find_class_values(data)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400


def test_values_are_the_places_of_the_classes(tmp_path):
    """Unless something says otherwise; other JSON in the folder does not."""
    assert find_class_values(make_data(tmp_path)) == (0, 1, 2, 3)
    for content in ("{}", "[]", '{"labels": ["RV"]}', '{"labels": {}}'):
        (tmp_path / "dataset.json").write_text(content)
        assert find_class_values(make_data(tmp_path)) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "LV": 500, "myo": 200, "RV": 600},  # nnU-Net
        {"0": "Background", "200": "MYO", "500": "lv", "600": "RV"},  # Decathlon
        {"background": "0", "LV": "500", "MYO": "200", "RV": "600"},
    ],
)
def test_data_set_names_its_labels(tmp_path, labels):
    """In both forms, matched by name and whatever the order, for this layout alone."""
    write_labels(tmp_path, labels)
    assert find_class_values(make_data(tmp_path)) == (0, 600, 200, 500)
    assert find_class_values(make_data(tmp_path, name="acdc")) == (0, 1, 2, 3)

    def note_of(data):
        return values_note(data, find_class_values(data))

    assert "BG 0, RV 600, MYO 200, LV 500" in note_of(make_data(tmp_path))
    assert note_of(make_data(tmp_path, label_values=(0, 1, 2, 3))) == ""
    assert note_of(make_data(tmp_path / "other")) == ""


def test_other_names_are_refused_with_both_lists(tmp_path):
    """Whoever knows better says so by the flag."""
    write_labels(tmp_path, {"background": 0, "Anterior": 1, "Posterior": 2, "LV": 3})
    refuse(make_data(tmp_path), "BG,RV,MYO,LV.*Anterior.*Posterior.*data.label_values")
    data = make_data(tmp_path, label_values=(0, 3, 2, 1))
    assert find_class_values(data) == (0, 3, 2, 1)


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "heart": [1, 2], "LV": 2, "RV": 3},
        {"background": 0, "MYO": 1.5, "LV": 2, "RV": 3},
        {"background": 0, "MYO": True, "LV": 2, "RV": 3},
        {"background": 0, "MYO": 2, "LV": 2, "RV": 3},
        {"0": "background", "1": "RV", "2": "rv", "3": "LV"},
    ],
)
def test_labels_without_one_value_each_are_refused(tmp_path, labels):
    """Regions of several values, numbers that are not whole, and values given twice."""
    write_labels(tmp_path, labels)
    refuse(make_data(tmp_path), "dataset.json.*data.label_values")


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"labels": NaN'])
def test_damaged_file_is_one_sentence(tmp_path, content):
    """Rather than numbers that may be wrong."""
    (tmp_path / "dataset.json").write_bytes(content)
    refuse(make_data(tmp_path), "dataset.json")


def test_link_to_nothing_is_not_a_missing_file(tmp_path):
    """The order of the classes would be guessed."""
    (tmp_path / "dataset.json").symlink_to("none.json")
    refuse(make_data(tmp_path), "dataset.json")


@pytest.mark.parametrize("values", [(0, 255), (0, 1, 2, 3, 4), (0, 1, 2, 2)])
def test_each_class_needs_one_value(tmp_path, values):
    """Fewer, more and the same twice."""
    refuse(make_data(tmp_path, label_values=values), "data.label_values.*data.classes")


def test_classes_take_a_networks_order(tmp_path):
    """With the values that belong to them, however those were found."""
    network = ("BG", "LV", "RV", "MYO")
    matched = order_classes_like(make_data(tmp_path), network)
    assert matched.classes == network and matched.label_values == (0, 3, 1, 2)
    data = make_data(tmp_path, label_values=(7, 5, 3, 1))
    assert find_class_values(order_classes_like(data, network)) == (7, 1, 5, 3)
    write_labels(tmp_path, {"background": 0, "RV": 200, "MYO": 300, "LV": 400})
    matched = order_classes_like(make_data(tmp_path), network)
    assert matched.label_values == (0, 400, 200, 300)
    same = make_data(tmp_path)
    assert order_classes_like(same, list(CLASSES)) is same


def test_names_are_compared_without_case_and_order():
    """The background has two names; a name that comes twice counts twice."""
    assert have_same_names(["bg", "LV", "RV"], ["Background", "rv", "lv"])
    assert not have_same_names(["BG", "LV"], ["BG", "LV", "RV"])
    assert not have_same_names(["BG", "LV", "LV"], ["BG", "LV", "RV"])


def test_where_the_values_stand_is_said_once(tmp_path, caplog):
    """A command lists its scans several times."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        image = nib.Nifti1Image(np.zeros((4, 4, 2), np.uint8), np.eye(4))
        nib.save(image, tmp_path / folder / "p1.nii")
    names = {name: value for value, name in enumerate(CLASSES)}
    (tmp_path / "labels.json").write_text(json.dumps(names))
    for _ in range(3):
        list_volumes(make_data(tmp_path))
    assert caplog.text.count("labels.json") == 1
