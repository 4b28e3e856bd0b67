"""Several networks as one: each against the mean of what they say alone."""

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.files.axes import SliceAxis
from pix2rep_jax.data.slice_summary import Inputs
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference import predict
from pix2rep_jax.inference import segmenter as module
from pix2rep_jax.inference.ensemble import (
    Prediction,
    average_networks,
    check_same_task,
    mean_slice,
)
from pix2rep_jax.inference.postprocess import Pieces
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.inference.write_masks import write_masks
from pix2rep_jax.runs.start import find_ensemble
from tests.inference.test_segmenter import scan, write_nifti
from tests.support.run_folder import make_run_record

CLASSES = ("BG", "RV", "MYO", "LV")
SPACING = (1.25, 1.25, 8.0)


def make_network(power):
    """A network that treats each pixel on its own."""

    def predict(images):
        bright = images[..., 0] ** power
        return np.stack([1 - bright, bright / 8, bright / 8, bright * 0.75], -1)

    return predict


def make_segmenter(power, *, fov_mm=40.0, size=32, **changes):
    return Segmenter(
        classes=CLASSES,
        predict_network=make_network(power),
        percentiles=(1.0, 99.0),
        fov_mm=fov_mm,
        size=size,
        **changes,
    )


MEMBERS = {
    "one grid": [make_segmenter(1), make_segmenter(2), make_segmenter(3)],
    "two grids": [
        make_segmenter(1),
        make_segmenter(2, fov_mm=60.0, size=40),
        make_segmenter(3),
    ],
}


def test_three_lines_say_what_a_segmenter_is():
    """Of an ensemble the grids of all its networks."""
    lines = repr(module._join(MEMBERS["two grids"])).splitlines()
    assert len(lines) == 3 and "3 network" in lines[0]
    assert "40 x 40 px" in lines[1] and lines[1].count(" mm as ") == 2


@pytest.mark.parametrize("kind", MEMBERS)
def test_probabilities_are_the_mean(kind):
    """On the scan's own grid, whatever grids the networks have."""
    members, image = MEMBERS[kind], scan()
    joined = module._join(members)
    assert [each.weight for each in joined.members] == {
        "one grid": [3],
        "two grids": [2, 1],
    }[kind]
    found = joined.predict_probabilities(image, spacing_mm=SPACING)
    alone = [x.predict_probabilities(image, spacing_mm=SPACING) for x in members]
    expected = np.mean(np.array(alone, np.float64), 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    labels = joined.predict(image, spacing_mm=SPACING)
    top = np.sort(expected, -1)
    clear = top[..., -1] - top[..., -2] > 1e-5
    np.testing.assert_array_equal(labels[clear], expected.argmax(-1)[clear])
    assert {0, 3} <= {*np.unique(labels)}


@pytest.mark.parametrize("kind", MEMBERS)
def test_files_get_the_masks_of_arrays(kind, tmp_path):
    """With slices of several scans in one batch, and a file that cannot be read."""
    joined = dataclasses.replace(module._join(MEMBERS[kind]), batch_size=2)
    pairs, masks = [], []
    for number, shape in enumerate([(40, 50, 3), (44, 40, 1), (40, 50, 4)]):
        image = scan(shape)
        path = write_nifti(tmp_path / f"{number}.nii.gz", image)
        pairs.append((path, tmp_path / f"{number}_seg.nii.gz"))
        masks.append(joined.predict(image, spacing_mm=SPACING))
    pairs[1][0].write_bytes(b"damaged")
    outcomes = [*write_masks(joined, pairs, overwrite=False)]
    assert [each.error is None for each in outcomes] == [True, False, True]
    for number in (0, 2):
        found = np.asarray(nib.load(pairs[number][1]).dataobj)
        np.testing.assert_array_equal(found, masks[number])


@pytest.mark.parametrize("kind", ["one", *MEMBERS])
def test_whole_slices_are_finished_one_by_one(kind, tmp_path, monkeypatch):
    """Masks and probabilities alike, of all grids: never those of a whole scan."""
    monkeypatch.setattr(predict, "_PIXELS_KEPT", 2 * 60**2)
    asked = []

    def noting(number, network):
        return lambda images: asked.append((number, len(images))) or network(images)

    members = MEMBERS["two grids" if kind == "one" else kind]
    members = [
        dataclasses.replace(
            each, crop="whole", predict_network=noting(number, each.predict_network)
        )
        for number, each in enumerate(members[: 1 if kind == "one" else None])
    ]
    joined = dataclasses.replace(module._join(members), batch_size=2)
    path = write_nifti(tmp_path / "a.nii.gz", scan((40, 50, 6)))
    target, beside = tmp_path / "a_seg.nii.gz", tmp_path / "a_probabilities.nii.gz"
    (outcome,) = write_masks(
        joined, [(path, target)], overwrite=False, probabilities_path=lambda _: beside
    )
    assert outcome.error is None
    assert {number for number, _ in asked[: len(members)]} == {*range(len(members))}
    assert sum(slices for number, slices in asked if number == 0) == 6
    del asked[:]
    written = nib.load(beside).get_fdata()
    expected = joined.predict_probabilities(path)
    np.testing.assert_allclose(written, expected, atol=2**-16 + 1e-6)
    assert {number for number, _ in asked[: len(members)]} == {*range(len(members))}
    np.testing.assert_array_equal(
        np.asarray(nib.load(target).dataobj), joined.predict(path)
    )


def test_a_class_alone_is_what_it_is_among_all():
    """Also beyond a field of view, where background is certain."""
    images, grid = make_segmenter(1, fov_mm=20.0).prepare(
        scan()[..., None, None], spacing_mm=SPACING
    )
    predictions = [Prediction(make_network(1)(images), grid, 2)]
    whole = mean_slice(predictions, 1)
    for value in range(4):
        alone = mean_slice(predictions, 1, slice(value, value + 1))
        np.testing.assert_array_equal(alone[..., 0], whole[..., value])
    assert (whole[0, 0] == (1, 0, 0, 0)).all()


def test_the_largest_piece_counts_where_all_members_want_it():
    """And it is taken of the mean, not of each network alone."""
    members = [
        make_segmenter(1, pieces=Pieces((1, 3))),
        make_segmenter(2, pieces=Pieces((3,))),
    ]
    joined = module._join(members)
    assert joined.pieces == Pieces((3,))
    image = scan()
    image[28:32, 12:16, 1] = 900.0
    assert (joined.predict(image, spacing_mm=SPACING)[30, 14] == 0).all()
    plain = dataclasses.replace(joined, pieces=Pieces())
    assert plain.predict(image, spacing_mm=SPACING)[30, 14, 1] == 3


@pytest.mark.parametrize(
    "what, change",
    [
        ("classes", {"classes": ("BG", "LV", "MYO", "RV")}),
        ("channels", {"inputs": Inputs(channels=2)}),
        ("files", {"inputs": Inputs(pictures=True)}),
        ("axes", {"slice_axis": SliceAxis(1, "A/P")}),
    ],
)
def test_other_tasks_are_refused(what, change):
    """Both folders are named, and what differs."""
    config = get_config("quick").to_dict()
    other = {"data": config["data"] | {"classes": change.get("classes", CLASSES)}}
    change = dict(change)
    record = make_run_record()
    configs = {Path("a/finetune"): config, Path("b/finetune"): other}
    records = dict.fromkeys(configs, record)
    if change.pop("classes", None) is None:
        check_same_task(configs, records)
    records[Path("b/finetune")] = record._replace(**change)
    with pytest.raises(InputError, match=rf"a/finetune.*b/finetune.*{what}") as caught:
        check_same_task(configs, records)
    assert "\n" not in str(caught.value)


def make_run(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({}))
    return folder


def test_the_folds_of_a_workdir_are_an_ensemble(tmp_path, caplog):
    """In the order of their numbers; one without a network is left out, and said."""
    runs = [make_run(tmp_path / f"fold{number}" / "finetune") for number in (0, 2, 10)]
    make_run(tmp_path / "fold1" / "pretrain")
    assert find_ensemble([tmp_path]) == runs
    (record,) = caplog.records
    assert "fold1" in record.getMessage()
    other = make_run(tmp_path / "other" / "probe")
    assert find_ensemble([tmp_path / "other", tmp_path]) == [other, *runs]
    own = make_run(tmp_path / "finetune")  # of the workdir itself
    assert find_ensemble([tmp_path]) == [own]


def test_a_workdir_without_a_network_is_refused(tmp_path):
    """Unless init.checkpoint names another one; folds that have none too."""
    make_run(tmp_path / "folds" / "fold0" / "pretrain")
    for place in (tmp_path / "nothing", tmp_path / "folds"):
        with pytest.raises(InputError, match=place.name):
            find_ensemble([place])
    run = make_run(tmp_path / "a" / "finetune")
    with pytest.raises(InputError):
        find_ensemble([])
    assert find_ensemble([tmp_path / "nothing"], checkpoint=str(tmp_path / "a")) == [
        run
    ]


def test_networks_of_one_grid_are_averaged_in_float32():
    """One alone is left as it is."""
    first, second = make_network(1), make_network(2)
    images = np.random.default_rng(0).random((2, 4, 4, 1), np.float32)
    found = average_networks([first, second])(images)
    assert found.dtype == np.float32
    expected = (first(images) + second(images)) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert average_networks([first]) is first
