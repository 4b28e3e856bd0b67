"""Pictures of a run for TensorBoard: views of its slices, and predicted masks."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.figures.tiles import tile_predictions, tile_views
from pix2rep_jax.inference.predict import BATCH_SIZE, make_predict, predict_slices
from pix2rep_jax.methods.downstream.teacher import networks_of_state
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.runs.metric_log import MetricWriter
from pix2rep_jax.runtime.compiler import once_options
from pix2rep_jax.training.state import TrainState
from pix2rep_jax.views.sampling import make_views

__all__ = ["Show", "show_predictions", "show_views", "with_pictures"]

Show = Callable[[TrainState], tuple[str, np.ndarray]]
"""Draws a state: the picture's name, and its pixels `[rows, columns, 3]` uint8."""

_LOG = logging.getLogger(__name__)

_ROWS = 4


def with_pictures(
    measure: Callable[[TrainState], Mapping[str, float]],
    show: Show | None,
    log: MetricWriter,
    *,
    every: int,
    measured_every: int,
    num_steps: int,
) -> Callable[[TrainState], Mapping[str, float]]:
    """Lets a measurement of a training also log pictures now and then.

    The training does not change. A picture that cannot be drawn is left out.

    Args:
        measure: Measures a state.
        show: Draws it; None draws nothing.
        log: Where pictures go.
        every: Measurements between two pictures, from the first one on; 0 draws none.
        measured_every: Steps between two measurements.
        num_steps: The last step, which is always drawn.
    """
    if show is None or not every:
        return measure

    def measure_and_show(state: TrainState) -> Mapping[str, float]:
        step = int(state.step)
        number = step // max(1, measured_every)
        if step >= num_steps or number % every == 1 % every:
            try:
                name, pixels = show(state)
            except Exception as error:
                _LOG.warning("note: a picture for TensorBoard is missing: %s", error)
            else:
                log.write_image(step, name, pixels)
        return measure(state)

    return measure_and_show


def show_predictions(
    config: ConfigDict,
    net: SegmentationNet,
    images: np.ndarray,
    labels: np.ndarray,
) -> Show:
    """Makes the picture of a few validation slices: expert beside network.

    Args:
        config: The run's.
        net: Backbone and head.
        images: `[slices, height, width, channels]`, all validation slices.
        labels: `[slices, height, width]` classes.
    """
    number = min(_ROWS, len(images))
    chosen = np.linspace(0, len(images) - 1, number).round().astype(int)
    images, labels = images[chosen], labels[chosen]

    def show(state: TrainState) -> tuple[str, np.ndarray]:
        networks = networks_of_state(config, state.params, state.model_state)
        variables: Any = next(iter(networks.values()))
        predict = make_predict(net)
        found = predict_slices(predict, variables, images, batch_size=BATCH_SIZE)
        return "predictions", tile_predictions(images, labels, found.argmax(-1))

    return show


def show_views(config: ConfigDict, images: np.ndarray, boxes: np.ndarray) -> Show:
    """Makes the picture of a few slices and two views of each, drawn anew each time.

    Args:
        config: Its seed and its sections `spatial` and `intensity` are read.
        images: `[slices, height, width, channels]`.
        boxes: `[slices, 4]`, as in `Dataset`.
    """
    number = min(_ROWS, len(images))
    images, boxes = np.asarray(images[:number], np.float32), boxes[:number]
    spatial, intensity = config.spatial.to_dict(), config.intensity.to_dict()

    @functools.partial(jax.jit, compiler_options=once_options())  # a few times a run
    def draw(key: jax.Array, images: jax.Array, boxes: jax.Array) -> Any:
        views = make_views(key, images, boxes, spatial=spatial, intensity=intensity)
        return views.view_a, views.view_b, views.valid

    def show(state: TrainState) -> tuple[str, np.ndarray]:
        key = jax.random.fold_in(jax.random.key(config.seed), int(state.step))
        drawn = map(np.asarray, draw(key, images, boxes))
        return "views", tile_views(images, *drawn)

    return show
