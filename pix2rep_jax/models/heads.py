"""The U-Net that is pretrained, and the two heads that are put on it."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from pix2rep_jax.models.layers import MOMENTUM, in_rows

__all__ = ["MLP", "ProjectionHead", "SegmentationHead"]


class ProjectionHead(nn.Module):
    """Maps features to the space of the contrastive loss: g of the paper.

    An MLP that acts on each pixel alone (1 x 1 convolutions), with ReLU after every
    hidden layer.

    Attributes:
        hidden: Width of each hidden layer; one in the paper.
        features: Width of the embedding, d of the paper.
        dtype: Of the computation.
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
    """Maps features to class logits: a 1 x 1 convolution; softmax is the loss's.

    Attributes:
        num_classes: Classes, background included.
    """

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., in]` to float32 `[..., num_classes]`."""
        logits = nn.Dense(self.num_classes, dtype=jnp.float32)(in_rows(x))
        return logits.reshape(*x.shape[:-1], self.num_classes)


class MLP(nn.Module):
    """Dense layers in float32, ReLU after every hidden one.

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
