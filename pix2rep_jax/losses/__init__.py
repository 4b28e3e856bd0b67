"""Losses, and the figures to watch beside them: arrays in, a scalar out.

Files, configurations and networks do not belong here; a method joins them to a loss.
Losses over pairs share these conventions:

- `u` and `v` are `[N, d]` embeddings of the two views. Row i of `u` and row i of `v`
  show the same anatomical point.
- `valid` is an optional `[N]` mask. Rows where it is False take no part. Their gradient
  is exactly zero, even if they hold NaN. Without any valid row the result is 0.
- Everything is computed in float32, whatever the dtype of the input.
  `rows.dot` says how precisely an accelerator multiplies matrices.
"""

from pix2rep_jax.losses.contrastive import info_nce
from pix2rep_jax.losses.decorrelation import cross_correlation
from pix2rep_jax.losses.rows import alignment, embedding_std, normalise
from pix2rep_jax.losses.segmentation import cross_entropy, segmentation_loss, soft_dice

__all__ = [
    "alignment",
    "cross_correlation",
    "cross_entropy",
    "embedding_std",
    "info_nce",
    "normalise",
    "segmentation_loss",
    "soft_dice",
]
