"""What a network's own features say about unlabelled pixels: affinities and prototypes.

Reference: Xie et al., "SemSim: Revisiting Weak-to-Strong Consistency from a Semantic
Similarity Perspective for Semi-supervised Medical Image Segmentation", 2024,
arXiv 2410.13486. Details that are marked "ours" were chosen here.
"""

import math

import jax
import jax.numpy as jnp

from pix2rep_jax.losses.rows import dot, normalise

__all__ = ["class_prototypes", "propagate_classes", "prototype_loss"]

REGIONS = 4
"""Parts of the image with prototypes of their own: its quarters."""

PARTS = 8
"""Parts of an image whose similarities are computed one after the other."""


def propagate_classes(
    probabilities: jax.Array, features: jax.Array, *, temperature: float, stride: int
) -> jax.Array:
    """Adds to each pixel's classes those of the pixels with like features.

    A pixel i has (p_i + Σ_j A_ij p_j) / 2, where row i of A is the softmax over j of
    the cosine similarities of i and j, divided by the temperature. Both terms sum to 1
    over the classes, and so does their mean.

    Args:
        probabilities: `[batch, height, width, num_classes]`.
        features: `[batch, height, width, d]`, of the same pixels.
        temperature: 1 leaves the cosines as they are.
        stride: Side of the blocks j, in pixels. With 1 they are the pixels themselves.
            A larger block has the mean features and probabilities of its pixels (ours),
            and the matrix has `stride ** 2` times fewer entries. Sides of the image are
            multiples of it.

    Returns:
        float32 `[batch, height, width, num_classes]`.
    """
    p, z = probabilities.astype(jnp.float32), features.astype(jnp.float32)
    block_p, block_z = (_block_means(each, stride) for each in (p, z))
    block_z = normalise(block_z)

    def of_some(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
        p, z = rows
        cosines = jnp.einsum("bid,bjd->bij", normalise(z), block_z, precision="high")
        affinity = jax.nn.softmax(cosines / temperature)
        spread = jnp.einsum("bij,bjc->bic", affinity, block_p, precision="high")
        return (p + spread) / 2

    # A part of the matrix is in memory at a time, in the gradient too. The parts divide
    # the image and not the batch, which several devices share.
    parts = math.gcd(p.shape[1], PARTS)
    rows = [x.reshape(len(x), parts, -1, x.shape[-1]).swapaxes(0, 1) for x in (p, z)]
    found = jax.lax.map(jax.checkpoint(of_some), (rows[0], rows[1]))
    return found.swapaxes(0, 1).reshape(p.shape)


def class_prototypes(
    features: jax.Array, labels: jax.Array, *, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Averages the features of each class in each quarter of the labelled images.

    Args:
        features: `[batch, height, width, d]`.
        labels: `[batch, height, width]` classes; pixels with 255 (`UNLABELLED`) are
            left out.
        num_classes: Background included.

    Returns:
        The prototypes `[4, num_classes, d]`, which have length 1. They are means of
        features of length 1. A class that a quarter does not show has its prototype of
        the whole image there (ours). And `[num_classes]` bool, the classes that occur.
    """
    z = normalise(features.astype(jnp.float32))
    height, width, d = z.shape[1:]
    # 255 is none of the classes, and so its row is zero.
    shown = jax.nn.one_hot(labels, num_classes)
    lower = (2 * jnp.arange(height) // height)[:, None]
    right = (2 * jnp.arange(width) // width)[None, :]
    inside = jax.nn.one_hot(2 * lower + right, REGIONS)
    both = (inside[None, ..., None] * shown[..., None, :]).reshape(
        -1, REGIONS * num_classes
    )
    sums = dot(both.T, z.reshape(-1, d)).reshape(REGIONS, num_classes, d)
    counts = both.sum(0).reshape(REGIONS, num_classes)
    sums = jnp.where((counts > 0)[..., None], sums, sums.sum(0)[None])
    return normalise(sums), counts.sum(0) > 0


def prototype_loss(
    features: jax.Array,
    labels: jax.Array,
    confident: jax.Array,
    prototypes: jax.Array,
    occurs: jax.Array,
    *,
    temperature: float,
) -> jax.Array:
    """Returns the cross-entropy of pseudo-labels by the nearest prototypes.

    A quarter's prototypes give a pixel the classes q_r, the softmax of its cosine
    similarities with them divided by the temperature. The pixel has the mean q of the
    quarters, and the weight w, the share of the quarters whose likeliest class is that
    of q. The value is Σ w (-log q_y) / Σ w over the confident pixels, y being the
    pseudo-label. A pixel is compared with the prototypes of all quarters, wherever it
    lies, because slices may be turned (ours).

    Args:
        features: `[..., d]`.
        labels: `[...]` int pseudo-labels.
        confident: `[...]` bool; the other pixels do not count.
        prototypes: From `class_prototypes`.
        occurs: From `class_prototypes`. Pixels of another class do not count.
        temperature: Divides the cosines.

    Returns:
        A scalar; 0 if no pixel counts.
    """
    z = normalise(features.astype(jnp.float32)).reshape(-1, features.shape[-1])
    number, num_classes, width = prototypes.shape
    cosines = dot(z, prototypes.reshape(-1, width).T).reshape(-1, number, num_classes)
    # Not minus infinity, which has no gradient.
    logits = jnp.where(occurs[None, None], cosines / temperature, -1e9)
    logs = jax.nn.log_softmax(logits)
    mean = jax.nn.logsumexp(logs, axis=1) - jnp.log(number)  # log q
    agrees = logits.argmax(-1) == mean.argmax(-1, keepdims=True)
    y = labels.reshape(-1)
    counts = confident.reshape(-1) & occurs[y]
    weight = jax.lax.stop_gradient(jnp.where(counts, agrees.mean(-1), 0.0))
    chosen = jnp.take_along_axis(mean, y[:, None], axis=-1)[:, 0]
    loss = jnp.where(counts, -chosen, 0.0)
    return (weight * loss).sum() / jnp.maximum(weight.sum(), 1e-6)


def _block_means(x: jax.Array, stride: int) -> jax.Array:
    """Averages `[batch, height, width, c]` over blocks of pixels, `[batch, blocks, c]`.

    Args:
        x: The maps.
        stride: Side of a block, in pixels.
    """
    number, height, width, channels = x.shape
    split = number, height // stride, stride, width // stride, stride, channels
    return x.reshape(split).mean((2, 4)).reshape(number, -1, channels)
