"""Slices in a file, and how many of them are in memory at once."""

import numpy as np

from pix2rep_jax.data.slices import stored_slices
from pix2rep_jax.data.slices.slice_cache import open_stored
from pix2rep_jax.data.slices.stored_slices import SliceWriter, StoredRows


def store(path, *volumes):
    """Writes the images and labels of volumes to a file, and opens all: two arrays."""
    with open(path, "wb") as file:
        writer = SliceWriter(file)
        for images, labels in volumes:
            writer.add(images, labels)
    return open_stored(path, writer.describe()).values()


def make_slices(number, side=8):
    """Noise with a channel, and its classes 0 to 3."""
    noise = np.random.default_rng(0)
    images = noise.random((number, side, side, 1), np.float32)
    return images, noise.integers(0, 4, images.shape[:3], dtype=np.uint8)


def count_taken(monkeypatch, *, limit=0):
    """Lets slices stay on the disk, and lists how many are taken at a time.

    Args:
        monkeypatch: pytest's.
        limit: Bytes of slices that are read at once, in place of 256 MB.
    """
    monkeypatch.setattr(stored_slices, "STORED_BYTES", limit)
    taken, take = [], StoredRows.__getitem__

    def record(self, key):
        found = take(self, key)
        single = found.ndim < len(self.shape)
        taken.append(1 if single else len(found))
        return found

    monkeypatch.setattr(StoredRows, "__getitem__", record)
    return taken
