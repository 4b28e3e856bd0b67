"""Patches of whole slices: where they lie, and what is cut out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.views.affine import sample_sources
from pix2rep_jax.views.patches import (
    PatchOptions,
    augment_patches,
    cut_at_random,
    draw_corners,
    draw_patches,
)

SIDE = 8
STILL = {"max_rotation": 0.0, "extent": (1.0, 1.0), "flip_probability": 0.0}
STILL |= {"max_shift": (0.0, 0.0)}
UNCHANGED = dict.fromkeys(
    (
        *("max_blur", "max_bias_field", "max_noise", "max_gamma", "max_contrast"),
        *("max_brightness", "blur_probability", "bias_field_probability"),
        *("noise_probability", "gamma_probability", "contrast_probability"),
        *("brightness_probability", "reversal_probability"),
    ),
    0.0,
) | {"grey_levels": 1.0}


def make_batch(box=(0, 31, 0, 39), number=400, place=None):
    """Ramps, so that a pixel's value is its place; and one pixel of a structure."""
    ramp = np.arange(32 * 40, dtype=np.float32).reshape(32, 40, 1) / (32 * 40)
    label = np.zeros((32, 40), np.uint8)
    if place:
        label[place] = 2
    tile = lambda x: jnp.asarray(np.broadcast_to(x, (number, *np.shape(x))))  # noqa: E731
    return {"image": tile(ramp), "label": tile(label), "box": tile(np.int32(box))}


def corners_of(batch, share=0.0, side=SIDE):
    draw = functools.partial(
        draw_corners, shape=(32, 40), side=side, foreground_share=share
    )
    label = batch["label"]
    return np.asarray(jax.jit(draw)(jax.random.key(0), batch["box"], label))


def test_patches_lie_anywhere_in_the_scan_and_nowhere_else():
    """Every first row and column of the box's 13 x 7 occurs, and no other."""
    corners = corners_of(make_batch(box=(4, 23, 10, 23), number=2000))
    assert {*corners[:, 0].tolist()} == {*range(4, 17)}
    assert {*corners[:, 1].tolist()} == {*range(10, 17)}
    counts = np.bincount(corners[:, 1] - 10)
    assert counts.min() > 0.6 * counts.mean() and counts.max() < 1.4 * counts.mean()


def test_a_scan_smaller_than_a_patch_lies_in_its_middle():
    """Four columns have two beside them on each side."""
    corners = corners_of(make_batch(box=(0, 31, 10, 13)))
    assert {*corners[:, 1].tolist()} == {8}


@pytest.mark.parametrize("place", [(0, 0), (31, 39), (17, 20)])
@pytest.mark.parametrize("share", [0.0, 1 / 3, 1.0])
def test_a_share_of_the_patches_holds_the_structure(place, share):
    """A third of them by design, and as many of the rest as hold it by chance."""
    batch = make_batch(number=3000, place=place)
    corners = corners_of(batch, share)
    holds = ((corners <= place) & (np.array(place) < corners + SIDE)).all(1)
    first = [np.arange(length - SIDE + 1) for length in (32, 40)]
    by_chance = np.prod(
        [
            np.mean((each <= p) & (p < each + SIDE))
            for each, p in zip(first, place, strict=True)
        ]
    )
    assert holds.mean() == pytest.approx(share + (1 - share) * by_chance, abs=0.04)
    if share == 1.0 and place == (17, 20):  # in each place of the patch alike
        assert {*(17 - corners[:, 0]).tolist()} == {*range(SIDE)}


def test_all_pixels_of_a_structure_are_drawn_alike():
    """Of a structure in two far corners, each is in half of the patches."""
    batch = make_batch(number=2000, place=(2, 3))
    label = np.array(batch["label"])
    label[:, 30, 37] = 1
    corners = corners_of({**batch, "label": jnp.asarray(label)}, 1.0)
    assert (corners[:, 0] < 15).mean() == pytest.approx(0.5, abs=0.05)


def test_a_patch_is_cut_out_of_image_label_and_box_alike():
    """The ramp's values say where; labels outside the scan are background."""
    batch = make_batch(box=(4, 9, 10, 39), place=(6, 20))
    label = batch["label"].at[:, 0].set(255)  # not known, and beside the scan
    options = PatchOptions(SIDE, 1.0)
    patches = jax.jit(functools.partial(draw_patches, options=options))(
        jax.random.key(1), {**batch, "label": label}
    )
    image = np.asarray(patches["image"])[..., 0] * 32 * 40
    rows, columns = np.divmod(np.round(image[:, 0, 0]).astype(int), 40)
    assert image.shape[1:] == (SIDE, SIDE) and image.dtype == np.float32
    labels, boxes = np.asarray(patches["label"]), np.asarray(patches["box"])
    for each, row, column, box in zip(labels, rows, columns, boxes, strict=True):
        assert (each == 2).sum() == 1 and each[6 - row, 20 - column] == 2
        assert each.max() == 2
        np.testing.assert_array_equal(box[:2], [4 - row, 9 - row])
        assert box[2] == 0 and box[3] == SIDE - 1
    assert labels.dtype == np.int32


def test_a_patch_that_is_not_moved_is_the_plain_patch():
    """With spatial options that leave all in place, and without any."""
    batch = make_batch(number=20, place=(6, 20))
    options = PatchOptions(SIDE, 1 / 3)
    run = functools.partial(augment_patches, options=options, intensity=UNCHANGED)
    key = jax.random.key(2)
    moved, label = jax.jit(functools.partial(run, spatial=STILL))(key, batch)
    plain, expected = jax.jit(functools.partial(run, spatial=None))(key, batch)
    np.testing.assert_allclose(moved, plain, atol=1e-5)
    np.testing.assert_array_equal(label, expected)


def test_a_shrunk_patch_shows_what_lies_around_it():
    """Twice the extent: the ramp goes on beyond the patch, and no corner is black."""
    batch = make_batch(number=50, place=(16, 20))
    wide = STILL | {"extent": (2.0, 2.0)}
    run = functools.partial(
        augment_patches,
        options=PatchOptions(SIDE, 1.0),
        spatial=wide,
        intensity=UNCHANGED,
    )
    image, label = map(np.asarray, jax.jit(run)(jax.random.key(3), batch))
    inner = image[:, 1:, :, 0].min((1, 2)) > 0
    assert inner.mean() > 0.8
    step = np.diff(image[inner][:, 2:6, 2:6, 0], axis=1) * 32
    np.testing.assert_allclose(step, 2.0, atol=1e-3)  # rows, in a ramp of 1 / 32 each
    assert set(np.unique(label)) <= {0, 2}


def test_labels_follow_their_pixels():
    """Against a loop over the sources of each pixel, in turned and moved patches."""
    rng = np.random.default_rng(0)
    batch = make_batch(number=6)
    label = jnp.asarray(rng.integers(0, 4, (6, 32, 40)).astype(np.uint8))
    batch = {
        **batch,
        "label": label,
        "box": jnp.tile(jnp.int32([[3, 28, 0, 39]]), (6, 1)),
    }
    spatial = {"max_rotation": 3.0, "extent": (0.7, 1.2), "flip_probability": 0.5}
    spatial |= {"max_shift": (0.1, 0.1)}
    options = PatchOptions(SIDE)
    key = jax.random.key(4)
    run = functools.partial(
        augment_patches, options=options, spatial=spatial, intensity=UNCHANGED
    )
    _, found = jax.jit(run)(key, batch)
    key_patch, key_view = jax.random.split(key)
    corners = draw_corners(key_patch, batch["box"], label, shape=(32, 40), side=SIDE)
    for n, view in enumerate(jax.random.split(key_view, 6)):
        phi, _ = jax.random.split(view)
        sources = sample_sources(phi, height=SIDE, width=SIDE, **spatial)
        sources = np.asarray(sources) + np.asarray(corners[n])
        for i in range(SIDE):
            for j in range(SIDE):
                row, column = sources[i, j]
                inside = 2.5 <= row <= 28.5 and -0.5 <= column <= 39.5
                near = abs(row % 1 - 0.5) < 1e-3 or abs(column % 1 - 0.5) < 1e-3
                if near:
                    continue
                at = np.clip(np.round([row, column]), 0, (31, 39)).astype(int)
                expected = int(label[n, at[0], at[1]]) if inside else 0
                assert int(found[n, i, j]) == expected


def test_patches_on_the_host_lie_in_the_scan():
    """As those of a step: the ramp says where, and the box moves with them."""
    batch = make_batch(box=(4, 23, 10, 23), number=500)
    images, boxes = map(np.asarray, (batch["image"], batch["box"]))
    every = np.arange(500)
    patches, moved = cut_at_random(images, boxes, every, side=SIDE, seed=0)
    first = np.round(patches[:, 0, 0, 0] * 32 * 40).astype(int)
    rows, columns = np.divmod(first, 40)
    assert {*rows.tolist()} == {*range(4, 17)}
    assert {*columns.tolist()} == {*range(10, 17)}
    np.testing.assert_array_equal(moved, np.tile([0, 7, 0, 7], (500, 1)))
    some = every[[7, 499, 3]]
    alone, _ = cut_at_random(images, boxes, some, side=SIDE, seed=0)
    np.testing.assert_array_equal(alone, patches[some])
