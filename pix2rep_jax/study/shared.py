"""What all cells that start from one pretrained backbone have in common."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from pix2rep_jax.models.batch_norm import recalibrate
from pix2rep_jax.modes.probe import compute_features
from pix2rep_jax.modes.run_training import Task

__all__ = ["SharedBackbone"]


class SharedBackbone:
    """Remembers a frozen backbone's statistics and its features of slices.

    It is meant for one pretraining run and one way of preparing the slices.
    """

    def __init__(self, *, budget_mb: float = 0.0) -> None:
        """Starts without any.

        Args:
            budget_mb: Host memory for what is remembered beyond the present run (MB).
        """
        self._budget = budget_mb * 1e6
        self._statistics: Any = None
        self._features: dict[int, np.ndarray] = {}

    def measure(self, backbone: nn.Module, variables: Any, images: np.ndarray) -> Any:
        """Does what `batch_norm.recalibrate` does, the first time only."""
        if self._statistics is None:
            self._statistics = jax.device_get(recalibrate(backbone, variables, images))
        # A copy: training donates what it starts from.
        return jax.tree.map(np.array, self._statistics)

    def compute(self, task: Task, slices: np.ndarray) -> np.ndarray:
        """Does what `probe.compute_features` does, once a slice."""
        wanted = slices.tolist()
        new = np.array([i for i in wanted if i not in self._features], int)
        if new.size:
            computed = compute_features(task, new)
            size = computed[0].nbytes * (len(self._features) + len(new))
            if size > self._budget:
                kept = set(wanted) & set(self._features)
                self._features = {i: self._features[i] for i in kept}
            self._features |= zip(new.tolist(), computed, strict=True)
        return np.stack([self._features[i] for i in wanted])
