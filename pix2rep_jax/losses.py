"""Losses of the pretraining and of the segmentation, and what to watch beside them.

Losses over pairs take the two views' embeddings as `u, v` `[N, d]`, row i of one
being the same anatomical point as row i of the other, and an optional mask `valid`
`[N]`: rows where it is False take no part and get a gradient of exactly zero, even
if they hold NaN. Everything is computed in float32 whatever the input is, with an
accelerator's products of matrices as `log_sums.dot` says, and without any valid row
every function returns 0.
"""

import jax
import jax.numpy as jnp

from pix2rep_jax.log_sums import count_blocks, dot, mean_log_sum, mean_over

__all__ = [
    "alignment",
    "cross_correlation",
    "cross_entropy",
    "embedding_std",
    "info_nce",
    "info_nce_dense",
    "segmentation_loss",
    "soft_dice",
]

# The label of a pixel without a mask.
IGNORED = 255


def info_nce(
    u: jax.Array,
    v: jax.Array,
    *,
    temperature: float | jax.Array,
    valid: jax.Array | None = None,
    block_size: int | None = None,
) -> jax.Array:
    """Contrasts every embedding's partner with all other embeddings of both views.

    The 2N x 2N matrix of cosine similarities is never stored: blocks of its upper
    triangle are computed one after the other, and again for the gradient, so that
    memory grows linearly with N. Compiled under `jax.set_mesh`, each device computes an
    equal share of the blocks; one sum a pass puts them together. A row shorter than
    1e-8 has similarity 0 to all others, and no gradient. Cosines are at most 1, which
    takes the place of a running maximum; in float32 that holds for temperatures from
    0.03 up.

    Args:
        u: `[N, d]` embeddings of one view.
        v: `[N, d]` embeddings of the same points in the other view.
        temperature: τ; the loss is differentiable in it too.
        valid: `[N]` bool, the pairs that take part; all of them by default.
        block_size: Rows of a block at most. By default 4096; on a CPU 1000, but a third
            of the rows where these are 1000 to 4096 on one device.

    Returns:
        The mean of l over all 2N embeddings of valid pairs, a scalar.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Eq. 1-2; after Chen et al., "A Simple Framework
        for Contrastive Learning of Visual Representations", ICML 2020.
    """
    (u, v), valid = prepare(u, v, valid=valid)
    u, v = normalise(u), normalise(v)
    count = 2 * u.shape[0]
    num_blocks = count_blocks(count, block_size)
    # Padding is one more kind of row that takes no part.
    padding = -count % num_blocks
    z = jnp.pad(jnp.concatenate([u, v]), ((0, padding), (0, 0)))
    keep = jnp.pad(jnp.concatenate([valid, valid]), (0, padding))
    temperature = jnp.asarray(temperature, z.dtype)
    log_sums = mean_log_sum(num_blocks, z, keep.astype(z.dtype), temperature)
    return log_sums - mean_over(valid, (u * v).sum(-1)) / temperature


def info_nce_dense(
    u: jax.Array,
    v: jax.Array,
    *,
    temperature: float | jax.Array,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Computes `info_nce` by its definition, with the whole matrix in memory.

    Args:
        u: `[N, d]` embeddings of one view.
        v: `[N, d]` embeddings of the same points in the other view.
        temperature: τ.
        valid: `[N]` bool, the pairs that take part; all of them by default.

    Returns:
        A scalar.

    Reference:
        Seince et al., "Dense Self-Supervised Learning for Medical Image
        Segmentation", MIDL 2024, Eq. 1-2.
    """
    (u, v), valid = prepare(u, v, valid=valid)
    z = jnp.concatenate([normalise(u), normalise(v)])
    similarity = dot(z, z.T) / temperature
    valid = jnp.concatenate([valid, valid])
    others = valid[None, :] & ~jnp.eye(len(z), dtype=bool)
    # Rows that take no part get themselves, so that no sum is empty.
    others = others | (jnp.eye(len(z), dtype=bool) & ~valid[:, None])
    log_sums = jax.nn.logsumexp(similarity, axis=1, where=others)
    positives = jnp.diagonal(jnp.roll(similarity, len(u), axis=1))
    return mean_over(valid, log_sums - positives)


def cross_correlation(
    u: jax.Array,
    v: jax.Array,
    *,
    off_diagonal_weight: float,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Draws the cross-correlation of the two views' dimensions to the identity.

    Each dimension is standardised over the valid rows by its mean and its biased
    variance, to which 1e-8 is added: a constant dimension has correlation 0.

    Args:
        u: `[N, d]` embeddings of one view.
        v: `[N, d]` embeddings of the same points in the other view.
        off_diagonal_weight: λ, the weight of the correlations between dimensions.
        valid: `[N]` bool, the pairs that take part; all of them by default.

    Returns:
        sum_i (1 - C_ii)² + λ sum_{i != j} C_ij², a scalar.

    Reference:
        Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy
        Reduction", ICML 2021, Eq. 1-2; over pixels as Pix2Rep-v2 in Seince et al.,
        "Dense Self-Supervised Learning for Medical Image Segmentation", MIDL 2024.
    """
    (u, v), valid = prepare(u, v, valid=valid)

    def standardise(x):
        x = jnp.where(valid[:, None], x - mean_over(valid, x)[None, :], 0)
        return x * jax.lax.rsqrt(mean_over(valid, x * x) + 1e-8)[None, :]

    correlation = dot(standardise(u).T, standardise(v)) / jnp.maximum(valid.sum(), 1)
    on_diagonal = jnp.eye(*correlation.shape, dtype=bool)
    terms = jnp.where(
        on_diagonal, (1 - correlation) ** 2, off_diagonal_weight * correlation**2
    )
    return jnp.where(valid.any(), terms.sum(), 0)


def alignment(
    u: jax.Array, v: jax.Array, *, valid: jax.Array | None = None
) -> jax.Array:
    """Returns the mean cosine similarity of the valid pairs of `[N, d]` rows."""
    (u, v), valid = prepare(u, v, valid=valid)
    return mean_over(valid, (normalise(u) * normalise(v)).sum(-1))


def embedding_std(u: jax.Array, *, valid: jax.Array | None = None) -> jax.Array:
    """Measures how far the valid rows of `[N, d]` spread over the sphere.

    Returns:
        The standard deviation over the normalised rows, averaged over dimensions:
        1/sqrt(d) where they point everywhere alike, 0 where all have collapsed to
        one direction.
    """
    (u,), valid = prepare(u, valid=valid)
    z = normalise(u)
    centred = z - mean_over(valid, z)[None, :]
    return jnp.sqrt(mean_over(valid, centred**2)).mean()


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Averages the cross-entropy over the labelled pixels.

    Args:
        logits: `[..., num_classes]`.
        labels: `[...]` int; 255 marks a pixel without a label.

    Returns:
        A scalar in nats.
    """
    labelled = labels != IGNORED
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    picked = jnp.take_along_axis(
        log_probabilities, jnp.where(labelled, labels, 0)[..., None], axis=-1
    )
    return mean_over(labelled.reshape(-1), -picked.reshape(-1))


def soft_dice(
    logits: jax.Array, labels: jax.Array, *, include_background: bool = True
) -> jax.Array:
    """Returns one minus the soft Dice score of the batch as a whole.

    Args:
        logits: `[batch, height, width, num_classes]`.
        labels: `[batch, height, width]` int; 255 marks a pixel without a label.
        include_background: Whether class 0 counts.

    Returns:
        1 - mean over classes of (2 Σ p y + ε) / (Σ p + Σ y + ε) with ε = 1e-5 and
        sums over all labelled pixels of the batch, a scalar. A class that the batch
        does not have adds nearly 1 / num_classes to it, however little of it is
        predicted, and next to nothing to its gradient.

    Reference:
        Milletari et al., "V-Net: Fully Convolutional Neural Networks for Volumetric
        Medical Image Segmentation", 3DV 2016, with p rather than p² below.
    """
    labelled = (labels != IGNORED)[..., None]
    p = jnp.where(labelled, jax.nn.softmax(logits.astype(jnp.float32)), 0)
    y = jnp.where(labelled, jax.nn.one_hot(labels, logits.shape[-1]), 0)
    pixels = tuple(range(labels.ndim))
    sums = p.sum(pixels) + y.sum(pixels)
    dice = (2 * (p * y).sum(pixels) + 1e-5) / (sums + 1e-5)
    return 1 - (dice if include_background else dice[1:]).mean()


def segmentation_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
) -> jax.Array:
    """Adds `cross_entropy` and `soft_dice`, each with its weight.

    Args:
        logits: `[batch, height, width, num_classes]`.
        labels: `[batch, height, width]` int; 255 marks a pixel without a label.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether class 0 counts in the soft Dice loss.

    Returns:
        A scalar.
    """
    dice = soft_dice(logits, labels, include_background=include_background)
    return cross_entropy_weight * cross_entropy(logits, labels) + dice_weight * dice


def prepare(*arrays, valid):
    """Casts to float32 or wider, and zeroes the rows that take no part."""
    if valid is None:
        valid = jnp.ones(arrays[0].shape[0], bool)
    # Before anything else touches them: 0 * NaN would be NaN in the gradient.
    arrays = tuple(
        jnp.where(valid[:, None], x.astype(jnp.promote_types(x.dtype, jnp.float32)), 0)
        for x in arrays
    )
    return arrays, valid


def normalise(x):
    """Scales rows to length one, and those shorter than 1e-8 to zero."""
    square = (x * x).sum(-1, keepdims=True)
    is_long = square > 1e-16
    return jnp.where(is_long, x * jax.lax.rsqrt(jnp.where(is_long, square, 1)), 0)
