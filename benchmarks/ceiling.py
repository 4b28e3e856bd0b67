"""Scores the experts' masks after their way to the network's grid and back.

python -m benchmarks.ceiling --root ACDC Hippocampus
python -m benchmarks.ceiling --root SCANS --classes BG,LIVER --variant small --size 80

About as good as a network can become on that grid: what lies outside the field of view
is lost, and edges are as coarse as its pixels, but for what probabilities say of them.
All volumes with a mask are scored, also those that train.

A folder with `training/` is read in ACDC's layout, and others need `images/` and
`labels/`. The layout of nnU-Net (`imagesTr/`) is linked into a temporary folder that
has them; its `dataset.json` names the classes.

The last line of each folder is of grids with each scan's own spacing and longest side.
Nothing is lost there, so every mask must score 100. Volumes that do not are named.
"""

import argparse
import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from configs import pix2rep as configs
from pix2rep_jax.data.checks import cut_masks
from pix2rep_jax.data.dataset import Dataset, load_dataset
from pix2rep_jax.data.fit.plan import plan_data
from pix2rep_jax.data.preparation import field_of_view_mm
from pix2rep_jax.data.slices.grid import centre_grid
from pix2rep_jax.data.slices.resample import resample_label, restore_labels
from pix2rep_jax.data.slices.volume import VolumeRecord, read_expert
from pix2rep_jax.evaluation.dice import dice_per_class
from pix2rep_jax.inference.predict import predict_volume
from pix2rep_jax.wording import count

GRID = {"spacing_mm": float, "size": int}


def score_experts(
    dataset: Dataset, volume_indices: Sequence[int], *, classes: Sequence[str]
) -> np.ndarray:
    """Returns the masks' own `[volumes, classes]` Dice on the scans' grids."""
    num_classes = len(classes)
    masks = dataclasses.replace(dataset, images=dataset.labels)

    def predict(labels: np.ndarray) -> np.ndarray:
        return np.eye(num_classes, dtype=np.float32)[labels]

    scores = []
    for index in volume_indices:
        _, native = predict_volume(predict, masks, index)
        expert = read_expert(dataset.volumes[index], num_classes=num_classes)
        scores.append(dice_per_class(native, expert, num_classes=num_classes))
    return np.array(scores)


def score_on_own_grid(record: VolumeRecord, *, num_classes: int) -> np.ndarray:
    """Returns the `[classes]` Dice of a mask on a grid of its scan's own pixels."""
    expert = read_expert(record, num_classes=num_classes)
    size = max(expert.shape[:2])
    spacing_mm = record.spacing_mm[:2]
    grid = centre_grid(
        expert.shape[:2], spacing_mm, fov_mm=spacing_mm[0] * size, size=size
    )
    own = resample_label(np.moveaxis(expert, 2, 0), grid)
    one_hot = np.eye(num_classes, dtype=np.float32)
    back = [restore_labels(one_hot[plane], grid) for plane in own]
    return dice_per_class(np.stack(back, -1), expert, num_classes=num_classes)


def main() -> None:
    """Prints the scores of each folder on each grid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, nargs="+")
    parser.add_argument("--variant", default=["small", "paper"], nargs="+")
    parser.add_argument("--classes", default="BG,RV,MYO,LV", help="of a plain folder")
    for name, kind in GRID.items():
        parser.add_argument(f"--{name}", type=kind)
    asked = parser.parse_args()
    changes = {name: x for name in GRID if (x := getattr(asked, name)) is not None}
    for root in map(Path, asked.root):
        with _opened(root, tuple(asked.classes.split(","))) as layout:
            for variant in asked.variant:
                data = configs.get_config(variant).data
                data.update({**layout, **changes})
                data = plan_data(data)
                dataset = load_dataset(data)
                _print_grid(dataset, data, f"{root.name}, {variant}")
            _print_own_grids(dataset, data.classes, root.name)


@contextlib.contextmanager
def _opened(root: Path, classes: tuple[str, ...]) -> Iterator[dict]:
    """Yields the settings of `data` by which a folder is read."""
    settings = {"root": str(root), "classes": classes}
    if (root / "training").is_dir():
        yield {**settings, "name": "acdc"}
    elif not (root / "imagesTr").is_dir():
        yield {**settings, "name": "nifti", "patient_regex": ".+"}
    else:
        labels = json.loads((root / "dataset.json").read_text())["labels"]
        with tempfile.TemporaryDirectory() as folder:
            _link(root, Path(folder))
            yield {
                "name": "nifti",
                "root": folder,
                "classes": tuple(sorted(labels, key=labels.__getitem__)),
                "patient_regex": ".+",
                "cache_dir": folder,
            }


def _link(root: Path, folder: Path) -> None:
    """Links the masks of nnU-Net's layout, and the first channel of their scans."""
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for mask in sorted((root / "labelsTr").glob("*.nii*")):
        stem, suffix = mask.name.rsplit(".nii", 1)
        scan = root / "imagesTr" / f"{stem}_0000.nii{suffix}"
        (folder / "labels" / mask.name).symlink_to(mask.resolve())
        (folder / "images" / mask.name).symlink_to(scan.resolve())


def _print_grid(dataset: Dataset, data: ConfigDict, name: str) -> None:
    """Prints the scores on one grid, and what lies outside its field of view."""
    scored = [i for i, each in enumerate(dataset.volumes) if each.label_path]
    dice = score_experts(dataset, scored, classes=data.classes)
    pixel_mm = field_of_view_mm(data) / data.size
    seen = "whole slices"
    if data.crop != "whole":
        seen = f"{pixel_mm * dataset.images.shape[1]:.4g} mm"
    title = f"{name} ({pixel_mm:.3g} mm over {seen})"
    print(_line(title, dice, data.classes))
    if note := cut_masks([dataset.volumes[index] for index in scored]):
        print(note)


def _print_own_grids(dataset: Dataset, classes: Sequence[str], name: str) -> None:
    """Prints the scores on each scan's own grid, and which are not perfect."""
    records = [each for each in dataset.volumes if each.label_path]
    dice = np.array(
        [score_on_own_grid(each, num_classes=len(classes)) for each in records]
    )
    print(_line(f"{name}, own spacing and size", dice, classes))
    worst = np.nanmin(dice, 1)
    for index in np.flatnonzero(worst < 1):
        print(f"  {records[index].volume_id}: {100 * worst[index]:.2f}")


def _line(title: str, dice: np.ndarray, classes: Sequence[str]) -> str:
    """Formats the mean Dice over volumes, in %."""
    mean = 100 * np.nanmean(dice, 0)
    each = ", ".join(f"{name} {x:.2f}" for name, x in zip(classes, mean, strict=True))
    scored = count(len(dice), "volume")
    return f"{title}, {scored}: {each}; foreground {mean[1:].mean():.2f}"


if __name__ == "__main__":
    main()
