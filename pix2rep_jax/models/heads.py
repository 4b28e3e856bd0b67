"""What stands on the backbone: projection head, segmentation head, MLP."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2rep_jax.models.layers import in_rows
from pix2rep_jax.models.norm_relu import MOMENTUM

__all__ = ["MLP", "ProjectionHead", "SegmentationHead"]


class ProjectionHead(nn.Module):
    """Maps features to the space of the contrastive loss: g of the paper.

    It is an MLP for each pixel (1 x 1 convolutions), with ReLU after each hidden layer.

    Attributes:
        hidden: Width of each hidden layer. The paper has one.
        features: Width of the embedding, d of the paper.
        dtype: Type of the computation; parameters stay float32.
    """

    hidden: Sequence[int]
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., in]` to `[..., features]`."""
        shape, x = x.shape, in_rows(x)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, dtype=self.dtype)(x))
        x = nn.Dense(self.features, dtype=self.dtype)(x)
        return x.reshape(*shape[:-1], self.features)


class SegmentationHead(nn.Module):
    """Maps features to class logits by a 1 x 1 convolution, without softmax.

    Attributes:
        num_classes: Number of classes, background included.
    """

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., in]` to float32 `[..., num_classes]`."""
        logits = nn.Dense(self.num_classes, dtype=jnp.float32)(in_rows(x))
        return logits.reshape(*x.shape[:-1], self.num_classes)


class MLP(nn.Module):
    """Maps vectors by dense layers in float32, with ReLU after every hidden one.

    Attributes:
        hidden: Width of each hidden layer.
        features: Width of the output.
        batch_norm: Whether BatchNorm stands before each ReLU.
    """

    hidden: Sequence[int]
    features: int
    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[batch, in]` to `[batch, features]`."""
        for width in self.hidden:
            x = nn.Dense(width, use_bias=not self.batch_norm)(x)
            if self.batch_norm:
                x = nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM)(x)
            x = nn.relu(x)
        return nn.Dense(self.features)(x)
