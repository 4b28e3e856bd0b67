"""The network that a run has trained: what is written in every format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from pix2rep_jax.methods.downstream.teacher import networks_of_state
from pix2rep_jax.models.build import make_backbone, make_segmentation_net
from pix2rep_jax.runs.checkpoint_reader import restore_model
from pix2rep_jax.runs.checkpoint_steps import LAST, result_step, unfinished
from pix2rep_jax.runs.kept_checkpoint import kept_checkpoint
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import RunRecord, read_run
from pix2rep_jax.runs.weights_file import is_weights

__all__ = ["Network", "load_network"]


class Network(NamedTuple):
    """A trained network, and the run that it comes from.

    Attributes:
        kind: "backbone" of a pretraining, or "segmenter".
        net: The U-Net, or the U-Net with its segmentation head; it computes in float32.
        params: Parameters; the first names are "backbone" and "head".
        batch_stats: BatchNorm's statistics, by the same names.
        run: The run's folder.
        step: The step of the checkpoint that was taken.
        config: The run's whole configuration, as JSON holds it.
        record: What its run.json holds.
    """

    kind: str
    net: nn.Module
    params: Any
    batch_stats: Any
    run: Path
    step: int
    config: dict[str, Any]
    record: RunRecord

    @property
    def backbone(self) -> Any:
        """The U-Net."""
        return self.net if self.kind == "backbone" else self.net.backbone  # type: ignore[attr-defined]

    @property
    def channels(self) -> int:
        """The number of channels of an image."""
        return self.record.inputs.channels

    @property
    def side_multiple(self) -> int:
        """What both sides of an image must be multiples of, px."""
        return 2 ** (len(self.backbone.channels) - 1)

    @property
    def output(self) -> str:
        """What the network gives for each pixel: "features" or "logits"."""
        return "features" if self.kind == "backbone" else "logits"

    @property
    def is_whole(self) -> bool:
        """Whether every part of it is trained, so that its output means something."""
        return self.kind == "segmenter" or "backbone" in self.record.trained

    def make_apply(self) -> Callable[[jax.Array], jax.Array]:
        """Returns the function from images `[batch, h, w, channels]` to the output."""
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        if self.kind == "backbone":
            variables = {name: tree["backbone"] for name, tree in variables.items()}

        def apply(image: jax.Array) -> jax.Array:
            found: Any = self.net.apply(variables, image, train=False)
            return found

        return apply


def load_network(run: Path, *, keep: str = "") -> tuple[Network, str]:
    """Loads the network of a run.

    Args:
        run: From `find_network`.
        keep: "last" or "best", the checkpoint of a segmenter; "" is what it keeps.

    Returns:
        The network, and a note if its run has not finished, or "".

    Raises:
        InputError: If it cannot be read.
    """
    config, record = read_config(run), read_run(run)
    settings = ConfigDict(config)
    settings.model.dtype = "float32"
    net: nn.Module
    if is_weights(run) or run.name == "pretrain":
        params, model_state = restore_model(run, keep=LAST)
        kind, net, keep = "backbone", make_backbone(settings), LAST
        params = {"backbone": params["backbone"]}
        batch_stats = {"backbone": model_state.batch_stats["backbone"]}
    else:
        kind, keep = "segmenter", kept_checkpoint(run, keep)
        net = make_segmentation_net(settings, scratch=record.origin is None)
        state = restore_model(run, keep=keep)
        found = next(iter(networks_of_state(settings, *state).values()))
        params, batch_stats = jax.device_get((found["params"], found["batch_stats"]))
    step = result_step(run, keep=keep)
    network = Network(kind, net, params, batch_stats, run, step, config, record)
    return network, unfinished(run, record.num_steps)
