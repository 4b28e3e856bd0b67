"""Losses and what to watch beside them: arrays in, a scalar out.

No file, no configuration and no network is known here.
"""

from pix2rep_jax.losses.contrastive import info_nce, info_nce_dense
from pix2rep_jax.losses.decorrelation import cross_correlation
from pix2rep_jax.losses.rows import alignment, embedding_std, normalise
from pix2rep_jax.losses.segmentation import cross_entropy, segmentation_loss, soft_dice

__all__ = [
    "alignment",
    "cross_correlation",
    "cross_entropy",
    "embedding_std",
    "info_nce",
    "info_nce_dense",
    "normalise",
    "segmentation_loss",
    "soft_dice",
]
