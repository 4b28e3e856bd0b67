"""Square patches of whole slices, drawn anew in every step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.views.affine import inside, sample_sources
from pix2rep_jax.views.intensity import random_intensity
from pix2rep_jax.views.warp import warp_at

__all__ = [
    "PatchOptions",
    "augment_patches",
    "cut_at_random",
    "draw_corners",
    "draw_patches",
]


class PatchOptions(NamedTuple):
    """How patches are drawn.

    Attributes:
        side: Rows and columns of a patch, px.
        foreground_share: How often a patch must hold a structure, if its slice has one.
    """

    side: int
    foreground_share: float = 0.0


def draw_corners(
    key: jax.Array,
    box: jax.Array,
    label: jax.Array | None = None,
    *,
    shape: tuple[int, int],
    side: int,
    foreground_share: float = 0.0,
) -> jax.Array:
    """Draws where a patch begins in each slice of a batch.

    A patch lies inside the scan wherever the scan is large enough, and its place is
    uniform. A share of the patches holds a pixel of a structure, which is drawn first;
    that pixel is as likely in each place of the patch as the scan's border allows.

    Args:
        key: One random key.
        box: `[batch, 4]`: the first and last row, then the first and last column of
            each slice that lie in the scan.
        label: `[batch, height, width]` integer classes; None if there are no masks.
        shape: Rows and columns of the slices.
        side: Rows and columns of a patch, px; at most those of the slices.
        foreground_share: As in `PatchOptions`.

    Returns:
        `[batch, 2]` int32, the first row and the first column of each patch.
    """
    share = 0.0 if label is None else foreground_share

    def one(key: jax.Array, box: jax.Array, label: jax.Array | None) -> jax.Array:
        key_place, key_pixel, key_share = jax.random.split(key, 3)
        low, high = _corner_range(box, shape, side=side)
        if not share:
            return jax.random.randint(key_place, (2,), low, high + 1)
        assert label is not None
        structure = _is_structure(label)
        pixel = _draw_pixel(key_pixel, structure)
        wanted = (jax.random.uniform(key_share) < share) & structure.any()
        nearest = jnp.clip(pixel - (side - 1), low, high)
        farthest = jnp.clip(pixel, low, high)
        low = jnp.where(wanted, nearest, low)
        high = jnp.where(wanted, farthest, high)
        return jax.random.randint(key_place, (2,), low, high + 1)

    return jax.vmap(one)(jax.random.split(key, box.shape[0]), box, label)


def draw_patches(
    key: jax.Array, batch: Mapping[str, jax.Array], *, options: PatchOptions
) -> dict[str, jax.Array]:
    """Cuts one patch out of every slice of a batch.

    Args:
        key: One random key.
        batch: "image" `[batch, height, width, channels]` and "box" `[batch, 4]` as for
            `draw_corners`; "label" `[batch, height, width]`, if there are masks.
        options: How patches are drawn.

    Returns:
        The same names. Images are float32. Images and labels have `side` rows and
        columns, and boxes count from the patch's first pixel. Outside the scan a label
        is 0.
    """
    shape, side = batch["image"].shape[1:3], options.side
    corners = draw_corners(
        key,
        batch["box"],
        batch.get("label"),
        shape=(shape[0], shape[1]),
        side=side,
        foreground_share=options.foreground_share,
    )

    def one(each: Mapping[str, jax.Array], corner: jax.Array) -> dict[str, jax.Array]:
        cut = dict(each)
        for name in ("image", "label"):
            if name in each:
                rest = each[name].shape[2:]
                start: Any = (corner[0], corner[1], *(0 for _ in rest))
                cut[name] = jax.lax.dynamic_slice(
                    each[name], start, (side, side, *rest)
                )
        cut["image"] = cut["image"].astype(jnp.float32)
        # A scan that does not reach into the patch still has one pixel in it.
        moved = jnp.clip(each["box"] - jnp.repeat(corner, 2), 0, side - 1)
        cut["box"] = moved.astype(each["box"].dtype)
        if "label" in cut:
            cut["label"] = jnp.where(
                _in_box(moved, side), cut["label"].astype(jnp.int32), 0
            )
        return cut

    return jax.vmap(one)(dict(batch), corners)


def augment_patches(
    key: jax.Array,
    batch: Mapping[str, jax.Array],
    *,
    options: PatchOptions,
    spatial: Mapping[str, Any] | None,
    intensity: Mapping[str, Any],
) -> tuple[jax.Array, jax.Array | None]:
    """Draws patches of slices, moved with their labels, and changes intensities.

    A turned or shrunk patch shows what lies around it in the slice. So it has black
    corners only where the slice ends.

    Args:
        key: One random key.
        batch: As for `draw_patches`.
        options: How patches are drawn.
        spatial: Options of `affine.sample_sources`, in shares of the patch's side; None
            moves nothing.
        intensity: Options of `intensity.random_intensity`.

    Returns:
        `[batch, side, side, channels]` float32, and int32 labels `[batch, side, side]`:
        a pixel takes the label nearest to its source, and background (0) outside the
        scan. They are None if the batch has none.
    """
    key_patch, key_view = jax.random.split(key)
    side, (height, width) = options.side, batch["image"].shape[1:3]
    keys = jax.random.split(key_view, batch["image"].shape[0])
    if spatial is None:
        cut = draw_patches(key_patch, batch, options=options)
        change = lambda key, image: random_intensity(key, image, **intensity)  # noqa: E731
        return jax.vmap(change)(keys, cut["image"]), cut.get("label")
    corners = draw_corners(
        key_patch,
        batch["box"],
        batch.get("label"),
        shape=(height, width),
        side=side,
        foreground_share=options.foreground_share,
    )

    def one(key, corner, image, box, label):
        key_phi, key_t = jax.random.split(key)
        sources = sample_sources(key_phi, height=side, width=side, **spatial)
        sources = sources + corner[None, None]
        seen = warp_at(image.astype(jnp.float32), sources)
        changed = random_intensity(key_t, seen, **intensity)
        if label is None:
            return changed, None
        nearest = jnp.round(sources).astype(jnp.int32)
        row = jnp.clip(nearest[..., 0], 0, height - 1)
        column = jnp.clip(nearest[..., 1], 0, width - 1)
        # A pixel reaches half its side beyond its centre.
        reach = jnp.array([-0.5, 0.5, -0.5, 0.5])
        shown = inside(sources, box.astype(jnp.float32) + reach)
        return changed, jnp.where(shown, label[row, column].astype(jnp.int32), 0)

    return jax.vmap(one)(
        keys, corners, batch["image"], batch["box"], batch.get("label")
    )


def cut_at_random(
    images: np.ndarray, boxes: np.ndarray, rows: np.ndarray, *, side: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts one patch out of some slices on the host, each place equally likely.

    Args:
        images: `[slices, height, width, channels]`.
        boxes: `[slices, 4]`, as for `draw_corners`.
        rows: `[patches]`, indices of the slices. The others are not read.
        side: Rows and columns of a patch, px.
        seed: Decides the place in each slice, whichever others are cut.

    Returns:
        `[patches, side, side, channels]` float32, and the boxes in the patches.
    """
    draw = np.random.default_rng(seed).random((len(images), 2))[rows]
    images, boxes = images[rows], boxes[rows]
    shape = (images.shape[1], images.shape[2])
    ends = jax.vmap(lambda box: _corner_range(box, shape, side=side))(boxes)
    low, high = map(np.asarray, ends)
    corners = (low + draw * (high + 1 - low)).astype(int)
    patches = np.empty((len(images), side, side, images.shape[3]), np.float32)
    for patch, image, (row, column) in zip(patches, images, corners, strict=True):
        patch[:] = image[row : row + side, column : column + side]
    moved = np.clip(boxes - np.repeat(corners, 2, axis=1), 0, side - 1)
    return patches, moved.astype(boxes.dtype)


def _corner_range(
    box: jax.Array, shape: tuple[int, int], *, side: int
) -> tuple[jax.Array, jax.Array]:
    """Finds the first and last corner of the patches that lie in the scan.

    Along an axis where the scan is shorter than a patch, the patch has it in its
    middle.
    """
    first, last = box[::2], box[1::2]
    short = last - first + 1 < side
    middle = (first + last + 1 - side) // 2
    most = jnp.array(shape) - side
    low = jnp.where(short, middle, first)
    high = jnp.where(short, middle, last + 1 - side)
    return jnp.clip(low, 0, most), jnp.clip(high, 0, most)


def _draw_pixel(key: jax.Array, mask: jax.Array) -> jax.Array:
    """Draws the row and column of one pixel of a mask `[height, width]`."""
    before = jnp.cumsum(mask.sum(1))
    number = jax.random.randint(key, (), 0, jnp.maximum(before[-1], 1))
    row = jnp.argmax(before > number)
    left = number - (before[row] - mask[row].sum())
    return jnp.stack([row, jnp.argmax(jnp.cumsum(mask[row]) > left)])


def _is_structure(label: jax.Array) -> jax.Array:
    """Tells the pixels on which an expert drew a structure."""
    return (label != 0) & (label != UNLABELLED)


def _in_box(box: jax.Array, side: int) -> jax.Array:
    """Tells the pixels of a patch that lie in a box."""
    row, column = jnp.arange(side)[:, None], jnp.arange(side)[None, :]
    rows = (box[0] <= row) & (row <= box[1])
    return rows & (box[2] <= column) & (column <= box[3])
