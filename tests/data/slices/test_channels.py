import dataclasses
import itertools
import json

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.files.axes import LAST
from pix2rep_jax.data.files.scan import read_scan
from pix2rep_jax.data.layout.dataset_json import read_channel_names
from pix2rep_jax.data.layout.fourth_axis import name_fourth_axis
from pix2rep_jax.data.slice_summary import Inputs, describe_inputs
from pix2rep_jax.data.slices.prepared_volume import prepare_file
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.found_scans import find_scans
from pix2rep_jax.inference.preparation import Preparation
from pix2rep_jax.inference.scan_files import find_channels, join_channels
from tests.support.nifti import AFFINE, SHAPE, make_image, make_label, save

SETTINGS = {
    "crop": "center",
    "fov_mm": 24.0,
    "size": 16,
    "interpolation": "linear",
    "normalization": ((1.0, 99.0), ()),
    "num_classes": 4,
    "axes": ("auto", "file", None),
}


def make_volume(paths, **fields):
    return VolumeFile(
        *("case", "case", "training", "", ""),
        image_path=paths[0],
        label_path=None,
        more_channels=tuple(paths[1:]),
        **fields,
    )


def save_channels(folder, number):
    """Files NAME_0000, NAME_0001, ... of different intensities."""
    draw = np.random.default_rng(5)
    return [
        save(
            folder / f"case_{index:04d}.nii.gz",
            (10.0**index * draw.random(SHAPE)).astype(np.float32),
        )
        for index in range(number)
    ]


def test_channels_are_read_in_their_order(tmp_path):
    """Whatever the order of the files, the channels follow it; each is normalised by
    itself, so that it is what it would be alone."""
    paths = save_channels(tmp_path, 3)
    alone = [prepare_file([make_volume([path])], SETTINGS)[0] for path in paths]
    for order in itertools.permutations(range(3)):
        (volume,) = prepare_file([make_volume([paths[i] for i in order])], SETTINGS)
        assert volume.images.shape == (SHAPE[2], 16, 16, 3)
        for place, index in enumerate(order):
            np.testing.assert_array_equal(
                volume.images[..., place], alone[index].images[..., 0]
            )
            assert volume.record.low[place] == alone[index].record.low[0]
        expected = np.percentile(nib.load(paths[order[1]]).get_fdata(), (1, 99))
        np.testing.assert_allclose(
            (volume.record.low[1], volume.record.high[1]), expected, rtol=1e-5
        )


def test_a_trained_network_cannot_take_another_window(tmp_path):
    """So only a run's own scans are told of the setting, and others of the network."""
    window = {"normalization": ((1.0, 99.0), (-160.0, 0.0))}
    volume = make_volume(save_channels(tmp_path, 1))
    with pytest.raises(
        InputError, match=r"--config\.data(\.|__)normalization=percentiles"
    ):
        prepare_file([volume], SETTINGS | window)
    used = SETTINGS | window | {"axes": ("auto", "file", LAST)}
    scan = read_scan(volume.image_paths)
    how = Preparation(*window["normalization"][:1], 24.0, 16, window=(-160.0, 0.0))
    for prepare in (
        lambda: prepare_file([volume], used),
        lambda: how.prepare(scan.array, spacing_mm=scan.spacing_mm),
    ):
        with pytest.raises(InputError, match="network") as refused:
            prepare()
        assert "normalization" not in str(refused.value)


@pytest.mark.parametrize("window", [(-1e30, 1e30), (-1000.0, 30_000.0)])
def test_a_window_that_shows_next_to_nothing_is_refused(tmp_path, window):
    """As where one scan is in other units: the network would see one grey level."""
    volume = make_volume(save_channels(tmp_path, 1))
    narrow = {"normalization": ((1.0, 99.0), window)}
    with pytest.raises(InputError, match="next to none within"):
        prepare_file([volume], SETTINGS | narrow)
    array = read_scan(volume.image_paths).array
    how = Preparation((1.0, 99.0), 24.0, 16, window=window)
    with pytest.raises(InputError, match="the network"):
        how.prepare(array, spacing_mm=(1.0, 1.0, 1.0))
    few = array / array.max() * 0.02 * (window[1] - window[0])
    how.prepare(few, spacing_mm=(1.0, 1.0, 1.0))  # a dim scan may be segmented


def test_a_fourth_axis_of_channels_is_several_files_in_one(tmp_path):
    """The digests differ from those of one channel alone."""
    paths = save_channels(tmp_path, 2)
    both = np.stack([np.asarray(nib.load(path).dataobj) for path in paths], -1)
    joined = save(tmp_path / "joined.nii.gz", both)
    (expected,) = prepare_file([make_volume(paths)], SETTINGS)
    volume = make_volume([joined], fourth_axis="channels")
    (found,) = prepare_file([volume], SETTINGS)
    np.testing.assert_array_equal(found.images, expected.images)
    assert found.record.image_digest == expected.record.image_digest
    (first,) = prepare_file([make_volume(paths[:1])], SETTINGS)
    assert first.record.image_digest != expected.record.image_digest
    with pytest.raises(InputError, match="fourth_axis"):  # never by guess
        prepare_file([make_volume([joined])], SETTINGS)


@pytest.mark.parametrize("bad", ["shape", "place", "spacing"])
def test_channels_on_other_grids_are_refused(tmp_path, bad):
    """The channel that differs is named."""
    first = save(tmp_path / "a_0000.nii", make_image())
    shape = (16, 20, 4) if bad == "shape" else SHAPE
    affine = AFFINE.copy()
    if bad == "place":
        affine[0, 3] += 12.5
    if bad == "spacing":
        affine[:, :2] *= 1.5
    other = save(tmp_path / "a_0001.nii", make_image(shape), affine)
    with pytest.raises(InputError, match=r"a_0001\.nii"):
        read_scan([first, other])


def test_a_channel_that_shows_nothing_is_zero_beside_others(tmp_path):
    """It is noted; a scan whose channels all show nothing is refused."""
    first = save(tmp_path / "a_0000.nii", make_image())
    empty = save(tmp_path / "a_0001.nii", np.full(SHAPE, 7.0, np.float32))
    (volume,) = prepare_file([make_volume([first, empty])], SETTINGS)
    assert "empty_channel" in volume.record.notes
    assert volume.images[..., 0].any() and not volume.images[..., 1].any()
    with pytest.raises(InputError, match="7 almost everywhere"):
        prepare_file([make_volume([empty, empty])], SETTINGS)


def test_frames_become_volumes_with_their_own_masks(tmp_path):
    """By the flag only; a mask needs as many frames as its scan."""
    scan = save(tmp_path / "a.nii", make_image((*SHAPE, 3)))
    label = np.stack([np.roll(make_label(), i, 0) for i in range(3)], -1)
    masks = save(tmp_path / "a_gt.nii", label)
    volume = dataclasses.replace(make_volume([scan]), label_path=masks)
    frames = name_fourth_axis([volume], "frames")
    assert [each.volume_id for each in frames] == [f"case_frame0{i}" for i in (1, 2, 3)]
    found = prepare_file(frames, SETTINGS | {"fov_mm": 40.0})
    for index, each in enumerate(found):
        image = save(tmp_path / "b.nii", make_image((*SHAPE, 3))[..., index])
        mask = save(tmp_path / "b_gt.nii", label[..., index])
        alone = dataclasses.replace(make_volume([image]), label_path=mask)
        (expected,) = prepare_file([alone], SETTINGS | {"fov_mm": 40.0})
        np.testing.assert_array_equal(each.images, expected.images)
        np.testing.assert_array_equal(each.labels, expected.labels)
    save(masks, label[..., :2])
    with pytest.raises(InputError, match="2"):
        name_fourth_axis([volume], "frames")
    save(masks, label[..., 0])
    with pytest.raises(InputError, match="1"):
        name_fourth_axis([volume], "frames")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"channel_names": {"0": "T1", "1": "T2"}}, ("T1", "T2")),
        ({"modality": {"1": "T2", "0": "FLAIR"}}, ("FLAIR", "T2")),
        ({"modality": {"0": "MRI"}}, ("MRI",)),
        ({"labels": {}}, ()),
        ([], ()),
    ],
)
def test_names_of_channels_are_those_of_dataset_json(tmp_path, content, names):
    path = tmp_path / "dataset.json"
    assert read_channel_names(path) == ()
    path.write_text(json.dumps(content))
    assert read_channel_names(path) == names


def test_scans_of_other_channels_are_refused(tmp_path):
    """One with two channels beside one with one; the flag makes channels of both."""
    from tests.data.test_dataset import make_data

    (tmp_path / "x" / "images").mkdir(parents=True)
    save(tmp_path / "x" / "images" / "A.nii", make_image((*SHAPE, 2)))
    save(tmp_path / "x" / "images" / "B.nii", make_image((*SHAPE, 2)))
    data = make_data(tmp_path / "x", name="nifti")
    with pytest.raises(InputError, match="fourth_axis"):
        load_dataset(data)
    data.fourth_axis = "channels"
    dataset = load_dataset(data)
    assert describe_inputs(dataset) == Inputs(channels=2)
    again = load_dataset(data)  # from the cache
    np.testing.assert_array_equal(again.images, dataset.images)
    assert again.volumes == dataset.volumes
    save(tmp_path / "x" / "images" / "B.nii", make_image())
    with pytest.raises(InputError, match=r"B\.nii has 1"):
        load_dataset(data)


def test_all_channels_of_a_case_are_found_or_the_missing_one_is_named(tmp_path):
    """A case counts once, under its name without the number."""
    paths = save_channels(tmp_path, 3)
    scans = join_channels(find_scans(tmp_path).scans, 3)
    assert [(each.name, each.path) for each in scans] == [("case", paths[0])]
    for path in paths:
        assert find_channels(path, 3) == paths
    assert find_channels(paths[1], 1) == [paths[1]]
    paths[1].unlink()
    with pytest.raises(InputError, match="case_0001"):
        find_channels(paths[0], 3)
