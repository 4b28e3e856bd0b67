"""Slices in a file: the same numbers as in memory, whatever is taken of them."""

import dataclasses
import errno
import functools
import itertools
import os
import time
from pathlib import Path

import numpy as np
import pytest

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.slices import stored_slices, volume_files
from pix2rep_jax.data.slices.cache_limit import limit_cache
from pix2rep_jax.data.slices.gathered_slices import GatheredSlices
from pix2rep_jax.data.slices.prepared_volume import prepare_file
from pix2rep_jax.data.slices.stored_slices import SliceWriter, StoredRows, select
from pix2rep_jax.data.slices.volume_files import read_files
from pix2rep_jax.data.slices.worker import Worker
from pix2rep_jax.data.splits import make_split, take_pretraining_slices
from pix2rep_jax.errors import InputError
from pix2rep_jax.training.feed import make_batches
from pix2rep_jax.training.sharding import make_mesh
from tests.faults.test_settings import make_config
from tests.support.patients import make_volumes


@pytest.fixture
def data(tmp_path):
    changes = {"data.phantom_training": 3, "data.phantom_testing": 1, "data.size": 16}
    changes |= {"data.num_labeled": 2}
    changes |= {"data.cache_dir": str(tmp_path / "cache")}
    return make_config(**changes).data


def stored(path, sizes=((4, 5), (3, 6))):
    """Volumes of two slices each in a file, and the same as padded arrays."""
    noise, images, labels = np.random.default_rng(0), [], []
    with open(path, "wb") as file:
        writer = SliceWriter(file)
        for size in sizes:
            image = noise.random((2, *size, 3)).astype(np.float16)
            label = noise.integers(0, 4, (2, *size), dtype=np.uint8)
            writer.add(image, label)
            rest = [(0, 0), (0, 4 - size[0]), (0, 6 - size[1])]
            images += [*np.pad(image, [*rest, (0, 0)])]
            labels += [*np.pad(label, rest, constant_values=255)]
    return writer.describe(), np.stack(images), np.stack(labels)


KEYS = (
    *(0, -1, [2, 0, 2], slice(1, 3), slice(None), np.array([True, False, True, False])),
    *((slice(None), slice(0, 2)), ([3, 1], slice(None), slice(0, 5)), (2, 1)),
    np.int64(1),
)


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_what_is_taken_is_what_an_array_gives(tmp_path, key):
    described, *expected = stored(tmp_path / "file")
    for labels, array in enumerate(expected):
        fill = 255 if labels else 0
        rows = StoredRows(tmp_path / "file", described, labels=bool(labels), fill=fill)
        assert rows.shape == array.shape and rows.dtype == array.dtype
        assert rows.nbytes == array.nbytes and len(rows) == len(array)
        assert rows.ndim == array.ndim
        np.testing.assert_array_equal(rows[key], array[key])
        np.testing.assert_array_equal(rows.select([3, 1])[[1, 0, 1]], array[[1, 3, 1]])
        np.testing.assert_array_equal(rows, array)


def test_a_slice_that_was_changed_is_refused_when_it_is_taken(tmp_path):
    """The others are not; a file of another length is refused at once."""
    path = tmp_path / "file"
    described, images, _ = stored(path)
    content = bytearray(path.read_bytes())
    content[int(described["places"][2, 0]) + 5] ^= 1
    path.write_bytes(content)
    rows = StoredRows(path, described, labels=False, fill=0)
    np.testing.assert_array_equal(rows[:2], images[:2])
    with pytest.raises(InputError, match="file"):
        rows[2]
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="bytes"):
        StoredRows(path, described, labels=False, fill=0)


def test_a_large_data_set_is_the_small_one_to_the_bit(data, monkeypatch, caplog):
    """Prepared into a file, and found there by the next start."""
    small = load_dataset(data)
    (path,) = Path(data.cache_dir).glob("slices-*.npz")
    path.unlink()
    monkeypatch.setattr(stored_slices, "STORED_BYTES", 30_000)
    for _ in range(2):
        large = load_dataset(data)
        assert isinstance(large.images, StoredRows)
        for name in ("images", "labels", "boxes", "volume_index", "slice_index"):
            np.testing.assert_array_equal(getattr(large, name), getattr(small, name))
        np.testing.assert_array_equal(large.is_annotated(), small.is_annotated())
        assert large.volumes == small.volumes
    assert path.stat().st_size < path.with_suffix(".bin").stat().st_size
    one, other = (make_split(each, data) for each in (small, large))
    np.testing.assert_array_equal(one.train_slices, other.train_slices)
    mine, theirs = (
        take_pretraining_slices(each, split)
        for each, split in ((small, one), (large, other))
    )
    assert isinstance(theirs["image"], StoredRows)
    np.testing.assert_array_equal(mine["image"], theirs["image"])
    assert isinstance(select(large.images, np.arange(2)), np.ndarray)
    path.with_suffix(".bin").write_bytes(b"short")
    np.testing.assert_array_equal(load_dataset(data).images, small.images)
    assert "damaged" in caplog.text
    limit_cache(path.parent, limit_gb=1e-9, keep=path.with_name("other"))
    assert not path.exists() and not path.with_suffix(".bin").exists()


def test_small_slices_beside_a_large_one_stay_on_the_disk(tmp_path, monkeypatch):
    """In memory all of them would be padded to its size."""
    monkeypatch.setattr(stored_slices, "STORED_BYTES", 10_000)

    def gather(*sides):
        with GatheredSlices(tmp_path / "file") as pixels:
            for side in sides:
                shape = (1, side, side)
                image = np.zeros((*shape, 1), np.float32)
                pixels.add(image, np.zeros(shape, np.uint8))
            return pixels.finish()

    assert gather(*[4] * 10) is None
    described = gather(*[4] * 9, 20)
    assert described is not None and int(described["bytes"]) == 5 * (9 * 16 + 400)
    rows = StoredRows(tmp_path / "file", described, labels=False, fill=0)
    assert rows.shape == (10, 20, 20, 1)


def test_on_a_full_disk_the_slices_stay_in_memory(data, monkeypatch, caplog):
    """With one warning, and nothing is left of what was written."""
    expected = load_dataset(data)
    cache = Path(data.cache_dir)
    (path,) = cache.glob("slices-*.npz")
    path.unlink()

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stored_slices, "STORED_BYTES", 30_000)
    monkeypatch.setattr(SliceWriter, "add", fail)
    monkeypatch.setattr(np, "savez", fail)
    found = load_dataset(data)
    assert isinstance(found.images, np.ndarray)
    np.testing.assert_array_equal(found.images, expected.images)
    assert len(caplog.records) == 1 and "data.cache_dir" in caplog.text
    assert not any("slices" in each.name for each in cache.iterdir())


@pytest.mark.parametrize("budget_mb", [0, 100])
def test_batches_are_drawn_from_the_file(tmp_path, key, budget_mb):
    """The same ones as from an array, on the host and on the devices."""
    described, images, _ = stored(tmp_path / "file")
    rows = StoredRows(tmp_path / "file", described, labels=False, fill=0)
    options = {"key": key, "first_step": 0, "mesh": make_mesh(), "batch_size": 4}
    expected, found = (
        [
            np.asarray(batch["image"])
            for batch in itertools.islice(
                make_batches({"image": each}, budget_mb=budget_mb, **options), 3
            )
        ]
        for each in (images, rows)
    )
    np.testing.assert_array_equal(found, expected)


def test_another_process_gives_results_and_errors():
    """And the call is made here where it has ended."""
    worker = Worker()
    try:
        assert worker.call(divmod, 7, 3) == (2, 1)
        with pytest.raises(ZeroDivisionError):
            worker.call(divmod, 1, 0)
        assert worker.call(os.getpid) == worker._process.pid
        worker._process.kill()
        worker._process.wait()
        assert worker.call(os.getpid) == os.getpid()
    finally:
        worker.close()


def test_few_results_are_waiting_at_a_time():
    """However many files there are; all come in their order."""
    volumes = [
        dataclasses.replace(each, image_path=Path(str(index)))
        for index, each in enumerate(make_volumes(range(500)))
    ]
    begun = []
    reading = read_files(begun.append, volumes, title="read", progress=False)
    next(reading)
    time.sleep(0.05)
    assert len(begun) <= 1 + 2 * 8
    rest = [file for file, _ in reading]
    assert [file[0] for file in rest] == volumes[1:] and len(begun) == len(volumes)


def test_many_files_are_read_by_processes(monkeypatch):
    """With the same results, in the same order."""
    monkeypatch.setattr(volume_files, "MANY", 3)
    monkeypatch.setattr(volume_files, "count_cores", lambda: 2)
    volumes = [
        dataclasses.replace(each, image_path=Path(str(index)))
        for index, each in enumerate(make_volumes(range(5)))
    ]
    how = {"title": "read", "progress": False, "processes": True}
    found = [result for _, result in read_files(repr, volumes, **how)]
    assert found == [repr([each]) for each in volumes]
    refused = [result for _, result in read_files(prepare, volumes, **how)]
    assert all(isinstance(each, InputError) for each in refused)


prepare = functools.partial(prepare_file, settings={"axes": ("auto", "file", None)})
