"""Supervised segmentation on top of the backbone: fine-tuning and probing."""

import flax.linen as nn
import jax

from pix2rep_jax.models.heads import SegmentationHead
from pix2rep_jax.models.unet import UNet

__all__ = ["SegmentationNet"]


class SegmentationNet(nn.Module):
    """The backbone f with a segmentation head in the place of g.

    Attributes:
        backbone: f; its parameters have the names they have in pretraining.
        head: 1 x 1 convolution to class logits.
    """

    backbone: UNet
    head: SegmentationHead

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, height, width, 1]` to logits `[..., num_classes]`."""
        return self.head(self.backbone(image, train=train))

    def features(self, image: jax.Array) -> jax.Array:
        """Maps `[batch, height, width, 1]` to the frozen backbone's features."""
        return self.backbone(image, train=False)

    def classify(self, features: jax.Array) -> jax.Array:
        """Maps features `[..., num_features]` to logits: the head alone."""
        return self.head(features)
