"""Scores the experts' masks after their way to the network's grid and back.

python -m benchmarks.ceiling --root ACDC [--name nifti] [--variant small]
python -m benchmarks.ceiling --root ACDC --size 80

About as good as a network can become on that grid: what lies outside the field of view
is lost, and edges are as coarse as its pixels, but for what probabilities say of them.
"""

import argparse
import dataclasses

import numpy as np

from configs import pix2rep as configs
from pix2rep_jax.data.checks import cut_masks
from pix2rep_jax.data.dataset import field_of_view_mm, load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.evaluation.score_volumes import evaluate_volumes

GRID = {"spacing_mm": float, "crop_px": int, "size": int}


def score_experts(dataset, volume_indices, *, classes):
    """Returns the masks' own `[volumes, classes]` Dice in native resolution."""
    masks = dataclasses.replace(dataset, images=dataset.labels)

    def predict(labels: np.ndarray) -> np.ndarray:
        return np.eye(len(classes), dtype=np.float32)[labels]

    scores = evaluate_volumes(predict, masks, volume_indices, classes=classes)
    return np.array([each.dice for each in scores if each.resolution == "native"])


def main() -> None:
    """Prints the scores of a data set's test volumes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True)
    parser.add_argument("--name", default="acdc", choices=("acdc", "nifti"))
    parser.add_argument("--variant", default="small")
    parser.add_argument("--classes", default="BG,RV,MYO,LV")
    for name, kind in GRID.items():
        parser.add_argument(f"--{name}", type=kind)
    asked = parser.parse_args()
    data = configs.get_config(asked.variant).data
    classes = tuple(asked.classes.split(","))
    data.update(name=asked.name, root=asked.root, classes=classes)
    data.update({name: x for name in GRID if (x := getattr(asked, name)) is not None})
    dataset = load_dataset(data)
    tested = make_split(dataset, data, draw_labeled=False).test_volumes
    mean = 100 * np.nanmean(score_experts(dataset, tested, classes=classes), 0)
    fov_mm = field_of_view_mm(data)
    print(
        f"pixels of {fov_mm / data.size:.3g} mm over {fov_mm:.4g} mm, {len(tested)} "
        "test volumes; Dice of the masks themselves in %: "
        + ", ".join(f"{name} {x:.1f}" for name, x in zip(classes, mean, strict=True))
        + f"; mean {mean.mean():.1f}, of the foreground {mean[1:].mean():.1f}"
    )
    if note := cut_masks([dataset.volumes[index] for index in tested]):
        print(note)


if __name__ == "__main__":
    main()
