"""BatchNorm's statistics, measured once for all runs of a pretraining."""

import functools
import os
import time

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from pix2rep_jax.methods import recalibration
from pix2rep_jax.methods.recalibration import recalibrate_backbone
from pix2rep_jax.models import batch_norm
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.runs import kept_statistics
from pix2rep_jax.runs.kept_statistics import measure_statistics
from tests.support.stored import count_taken, make_slices, store
from tests.support.views import make_boxes


@pytest.fixture
def arguments(key, tmp_path):
    """The arguments of `measure_statistics`, by name."""
    net = UNet((3, 5), 4)
    images = np.random.default_rng(0).random((6, 8, 8, 1), np.float32)
    variables = jax.jit(lambda k: net.init(k, images[:1], train=False))(key)
    variables = jax.tree.map(np.array, variables)
    data = ConfigDict({"crop": "center", "size": 8, "cache_dir": str(tmp_path)})
    return {
        "data": data,
        "backbone": net,
        "params": {"backbone": variables["params"]},
        "batch_stats": {"backbone": variables["batch_stats"], "head": {}},
        "images": images,
        "boxes": make_boxes(images),
    }


@pytest.mark.parametrize("crop", ["center", "whole"])
def test_a_sample_is_read_of_slices_on_the_disk(arguments, monkeypatch, tmp_path, crop):
    """A batch at a time, and the statistics are those of slices in memory; a patch of
    the slices that are measured is cut, and of no others."""
    monkeypatch.setattr(kept_statistics, "numeric_environment", lambda: {})
    sample = functools.partial(batch_norm.sample_batches, batch_size=4, max_batches=3)
    for module in (kept_statistics, recalibration):
        monkeypatch.setattr(module, "sample_batches", sample)
    short = functools.partial(recalibration.recalibrate, batch_size=4, max_batches=3)
    monkeypatch.setattr(recalibration, "recalibrate", short)
    images, labels = make_slices(60)
    arguments |= {"images": images, "boxes": np.tile([0, 6, 1, 7], (60, 1))}
    arguments["data"].update(crop=crop, size=4 if crop == "whole" else 8)
    expected = measure_statistics(**arguments)
    (path,) = tmp_path.glob("statistics-*.npz")
    arguments["images"], _ = store(tmp_path / "slices", (images, labels))
    taken = count_taken(monkeypatch)
    jax.tree.map(
        np.testing.assert_array_equal, measure_statistics(**arguments), expected
    )
    assert set(taken) == {1} and len(taken) == 12  # the hash, which finds the file
    path.unlink()
    jax.tree.map(
        np.testing.assert_array_equal, measure_statistics(**arguments), expected
    )
    assert taken[12:] == 12 * [1] + 3 * [4]


@pytest.fixture
def calls(monkeypatch):
    """Counts how often statistics are really measured."""
    made = []

    def measure(*given):
        made.append(given)
        return recalibrate_backbone(*given)

    monkeypatch.setattr(kept_statistics, "recalibrate_backbone", measure)
    return made


def test_a_second_run_reads_the_same_bits(arguments, calls):
    """They are those of a measurement, and nothing is measured again."""
    first = measure_statistics(**arguments)
    second = measure_statistics(**arguments)
    assert len(calls) == 1
    measured = recalibrate_backbone(*arguments.values())
    for found in (first, second):
        assert jax.tree.structure(found) == jax.tree.structure(measured)
        for ours, theirs in zip(*map(jax.tree.leaves, (found, measured)), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("what", ["params", "images", "boxes"])
def test_other_weights_or_slices_are_measured_anew(arguments, calls, what):
    """One number decides."""
    measure_statistics(**arguments)
    changed = jax.tree.map(np.array, arguments[what])
    array = jax.tree.leaves(changed)[0]
    array.flat[0] += 1
    measure_statistics(**{**arguments, what: changed})
    assert len(calls) == 2


@pytest.mark.parametrize(
    "change", [{"crop": "none"}, {"size": 4}, {"backbone": UNet((3, 5), 4, 4)}]
)
def test_other_settings_are_measured_anew(arguments, calls, change):
    """What prepares the slices, and the network, even if its weights fit."""
    measure_statistics(**arguments)
    backbone = change.pop("backbone", arguments["backbone"])
    arguments["data"].update(change)
    measure_statistics(**{**arguments, "backbone": backbone})
    assert len(calls) == 2


def test_another_machine_measures_anew(arguments, calls, monkeypatch):
    """Its sums are rounded in another way."""
    measure_statistics(**arguments)
    monkeypatch.setenv("NPROC", "7")
    measure_statistics(**arguments)
    assert len(calls) == 2


def test_a_damaged_file_is_measured_again(arguments, calls, tmp_path):
    """And then it is whole."""
    measure_statistics(**arguments)
    (path,) = tmp_path.glob("statistics-*.npz")
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole.replace(b"mean", b"MEAN", 1)):
        path.write_bytes(damaged)
        measure_statistics(**arguments)
        assert path.read_bytes() == whole
    assert len(calls) == 4


def test_no_flipped_bit_changes_a_number(arguments, calls, tmp_path):
    """Zip's own checks leave out names, and what says how a member is packed."""
    first = measure_statistics(**arguments)
    (path,) = tmp_path.glob("statistics-*.npz")
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    key = path.stem.partition("-")[2]
    for place in range(directory, len(whole)):
        for bit in (0, 3, 7):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            found = kept_statistics._load(path, key)
            if found is not None:
                found = {**first, "backbone": found}
                jax.tree.map(np.testing.assert_array_equal, found, first)


def test_the_file_of_another_network_is_not_taken(arguments, calls, tmp_path):
    """Under the name of this one's; nor any other file of NumPy's."""
    first = measure_statistics(**arguments)
    (path,) = tmp_path.glob("statistics-*.npz")
    more = {**arguments, "images": arguments["images"] + 1}
    measure_statistics(**more)
    (other,) = {*tmp_path.glob("statistics-*.npz")} - {path}

    def array_alone(place):
        with open(place, "wb") as file:
            np.save(file, np.zeros(3))

    for swap in (
        lambda place: place.write_bytes(other.read_bytes()),
        lambda place: np.savez(place, x=np.zeros(3)),
        array_alone,
    ):
        swap(path)
        again = measure_statistics(**arguments)
        jax.tree.map(np.testing.assert_array_equal, again, first)
    assert len(calls) == 5


def test_reading_statistics_is_a_use_of_them(arguments, calls, tmp_path):
    """What was not used for longest is removed from a full cache."""
    measure_statistics(**arguments)
    (path,) = tmp_path.glob("statistics-*.npz")
    os.utime(path, (1e9, 1e9))
    measure_statistics(**arguments)
    assert len(calls) == 1 and path.stat().st_mtime > time.time() - 60


def test_a_folder_that_cannot_be_written_is_not_an_error(arguments, calls, tmp_path):
    """Each run measures then."""
    (tmp_path / "file").touch()
    arguments["data"].cache_dir = str(tmp_path / "file" / "cache")
    for _ in range(2):
        measure_statistics(**arguments)
    assert len(calls) == 2
