"""Which slice of a volume a picture shows."""

import dataclasses

import numpy as np
import pytest

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.figures.embedded_slices import embed_scans
from pix2rep_jax.figures.selection import middle_slice
from tests.support.patients import make_dataset, make_volumes
from tests.support.run_folder import make_split_of


@pytest.mark.parametrize(
    ("shown", "chosen"),
    [
        ([{0}, {1}, {1}, {1, 2}, {1, 2}, {1, 2}, {0}], 3),  # it is the middle one
        ([{1}, {1}, {1}, {1}, {1, 2}, {1, 2}, {1, 2}], 5),
        ([{1, 2}, {1}, {1}, {1}, {0}, {0}, {0}], 0),
        ([{0}, {0}, {1}, {0}, {0}, {0}, {0}], 2),
        ([{0}] * 7, 3),
        ([{UNLABELLED}] * 7, 3),
    ],
)
def test_the_slice_shows_most_structures(shown, chosen):
    """The middle one of those that show any, unless others show more."""
    dataset = make_dataset(make_volumes([1, 2])[:2], counts=[2, 7])
    labels = np.zeros((9, 1, 2), np.uint8)
    for label, values in zip(labels[2:], shown, strict=True):
        label[0] = (min(values), max(values))
    dataset = dataclasses.replace(dataset, labels=labels)
    assert middle_slice(dataset, 1) == 2 + chosen


def test_the_first_patients_are_compared_by_all_of_their_slices():
    """One slice of the first one; of a long scan a dozen, evenly."""
    dataset = make_dataset(make_volumes([1, 2, 3, 4])[::2], counts=[3, 2, 40, 5])
    images = np.arange(50, dtype=np.float32)[:, None, None, None] / 50
    dataset = dataclasses.replace(
        dataset,
        images=np.broadcast_to(images, (50, 4, 4, 1)),
        labels=np.zeros((50, 4, 4), np.uint8),
    )
    patients = tuple(volume.patient for volume in dataset.volumes)
    found = embed_scans(
        dataset,
        make_split_of(test_patients=patients),
        lambda images: np.concatenate([images, 1 - images], -1),
        side=4,
    )
    assert len(found.names) == 3 and [x.ndim for x in found.images] == [2, 3, 3]
    assert found.images[0][0, 0] == np.float32(1 / 50)
    assert [len(found.images[1]), len(found.images[2])] == [2, 12]
    places = np.rint(found.images[2][:, 0, 0] * 50)
    assert places[[0, -1]].tolist() == [5, 44]
    assert {*np.diff(places).tolist()} == {3, 4}
    for image, values in zip(found.images, found.embeddings, strict=True):
        np.testing.assert_array_equal(values, np.stack([image, 1 - image], -1))
