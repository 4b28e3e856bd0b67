"""The network of probing and fine-tuning: the backbone with a segmentation head."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from pix2rep_jax.models.heads import SegmentationHead
from pix2rep_jax.models.unet import UNet

__all__ = ["SegmentationNet"]


class SegmentationNet(nn.Module):
    """Segments images by the backbone f and a segmentation head in the place of g.

    Attributes:
        backbone: f. Its parameters have the same names as in pretraining.
        head: Maps features to class logits.
    """

    backbone: UNet
    head: SegmentationHead

    def __call__(
        self,
        image: jax.Array,
        *,
        train: bool,
        perturb: Callable[[int, jax.Array], jax.Array] | None = None,
        with_features: bool = False,
    ) -> Any:
        """Maps `[batch, height, width, channels]` to logits `[..., num_classes]`.

        Args:
            image: The images.
            train: Whether BatchNorm uses the batch's statistics.
            perturb: As the backbone takes it.
            with_features: Whether the features are returned too, after the logits.
        """
        features = self.backbone(image, train=train, perturb=perturb)
        logits = self.head(features)
        return (logits, features) if with_features else logits

    def features(self, image: jax.Array) -> jax.Array:
        """Maps `[batch, height, width, c]` to features, with the running averages."""
        return self.backbone(image, train=False)

    def classify(self, features: jax.Array) -> jax.Array:
        """Maps features `[..., num_features]` to logits by the head alone."""
        return self.head(features)
