"""Counts and draws what the last convolution at the compared points saves.

python -m benchmarks.compared_pixels [--case paper] [--picture docs/pictures/points.png]

The picture shows the two views of a phantom's slice, and the pixels at which that
convolution is computed.
"""

import argparse
import sys

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from benchmarks.operations import count_operations
from benchmarks.step import get_config, make_step
from configs import pix2rep as configs
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.methods.pretraining.pixel_pairs import choose_points
from pix2rep_jax.views.sampling import make_views
from pix2rep_jax.views.warp import neighbours

CASES = ("small", "middle", "paper")


def count(case: str, *, sparse: bool) -> int:
    """Counts the operations of one step of InfoNCE."""
    config = get_config(case, "info_nce")
    config.model.sparse_last_block = sparse
    return count_operations(*make_step(config))


def read_pixels():
    """Makes two views, and the masks of the pixels that the loss reads in each."""
    config = configs.get_config("quick")
    dataset = load_dataset(config.data, progress=False)
    middle = int(np.flatnonzero(dataset.volume_index == 0).mean())
    image = jnp.asarray(dataset.images[middle]).reshape(
        1, *dataset.images.shape[1:3], 1
    )
    key_views, key_points = jax.random.split(jax.random.key(4))
    spatial = config.spatial.to_dict() | {"max_rotation": 0.6, "extent": (0.6, 0.7)}
    views = make_views(
        key_views, image, spatial=spatial, intensity=config.intensity.to_dict()
    )
    points, _ = choose_points(key_points, views.valid, config.pretrain.num_points)
    height, width = image.shape[1:3]
    places = views.sources.reshape(-1, 2)[points[0]]
    corners = neighbours(places, height=height, width=width)
    masks = np.zeros((2, height * width), bool)
    for flat, _ in corners:
        masks[0, np.asarray(flat)] = True
    masks[1, np.asarray(points[0])] = True
    return (views.view_a, views.view_b), masks.reshape(2, height, width)


def draw(path: str) -> None:
    """Draws the views, with the pixels that are read in colour."""
    views, masks = read_pixels()
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    names = ("view v, four neighbours", "view φ·v', the points")
    for axis, view, mask, name in zip(axes, views, masks, names, strict=True):
        axis.imshow(view[0, ..., 0], cmap="gray")
        colour = np.zeros((*mask.shape, 4))
        colour[mask] = (0.9, 0.6, 0.0, 0.9)
        axis.imshow(colour)
        axis.set_title(f"{name}: {mask.mean():.0%} of the pixels", fontsize=9)
        axis.set_axis_off()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main(argv=None) -> None:
    """Prints one line per size, and draws the picture if it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--picture", default="")
    flags = parser.parse_args(argv)
    if flags.picture:
        draw(flags.picture)
    print("operations of a step, 10^9: on all pixels, at the compared points")
    for case in flags.case or CASES:
        dense, sparse = (count(case, sparse=each) / 1e9 for each in (False, True))
        print(f"{case:8}{dense:10.1f}{sparse:10.1f}  {sparse / dense:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
