"""Trains a plain PyTorch U-Net on the slices of a run of ours, for as many CPU seconds.

pip install -r requirements-bench.txt
python -m benchmarks.plain_unet --workdir runs/scratch --cpu-seconds 300
python -m benchmarks.plain_unet --study runs/hippocampus --cpu-seconds 300

The network has the run's channels, and the run's images, labelled patients and test
patients. Sober settings: Adam, cosine, Dice and cross-entropy, batches of 8, rotations
within 20°, zooms of 0.8 to 1.25, noise and brightness. Half of the slices are mirrored
if the run mirrors some.
The length of the schedule follows from the first 20 steps.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ml_collections import ConfigDict
from torch.nn import functional

from benchmarks.csv_file import read_rows, write_rows
from benchmarks.pytorch_step import make_net
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.evaluation.report import evaluation, table
from pix2rep_jax.evaluation.score_volumes import evaluate_volumes
from pix2rep_jax.evaluation.volume_score import VolumeScore
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runtime.atomic_file import write_whole
from pix2rep_jax.wording import count


class Result(NamedTuple):
    """What a training ended with.

    Attributes:
        scores: Dice and distances of every test volume.
        classes: Names of the classes, background first.
        steps: Number of updates.
        seconds: Wall time of the training, s.
    """

    scores: list[VolumeScore]
    classes: tuple[str, ...]
    steps: int
    seconds: float


def augment(image, label, *, mirror: bool):
    """Moves and changes a batch; every image by draws of its own."""
    draw = torch.rand(6, len(image))
    angle, zoom = (2 * draw[0] - 1) * math.pi / 9, 0.8 + 0.45 * draw[1]
    side = torch.where((draw[2] < 0.5) & mirror, -1.0, 1.0)
    cos, sin, zero = angle.cos() / zoom, angle.sin() / zoom, torch.zeros(len(image))
    rows = [
        torch.stack([cos * side, -sin, zero], 1),
        torch.stack([sin * side, cos, zero], 1),
    ]
    grid = functional.affine_grid(
        torch.stack(rows, 1), image.shape, align_corners=False
    )
    image = functional.grid_sample(image, grid, align_corners=False)
    label = functional.grid_sample(
        label[:, None].float(), grid, mode="nearest", align_corners=False
    )
    scale, shift = 0.8 + 0.4 * draw[3], 0.2 * draw[4] - 0.1
    image = image * scale.view(-1, 1, 1, 1) + shift.view(-1, 1, 1, 1)
    image += 0.05 * draw[5].view(-1, 1, 1, 1) * torch.randn_like(image)
    return image, label[:, 0].long()


def train(net, images, labels, *, classes: int, seconds: float, mirror: bool) -> int:
    """Trains until the CPU time is used up; returns the number of steps."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    start, total, step = time.process_time(), 1e9, 0
    while step < total:
        used = time.process_time() - start
        if step == 20 or (step > 20 and step % 100 == 0):
            total = max(step + 1, step * seconds / used)
        optimizer.param_groups[0]["lr"] = 5e-4 * (
            1 + math.cos(math.pi * min(step / total, 1))
        )
        rows = torch.randint(len(images), (8,))
        image, label = augment(images[rows], labels[rows], mirror=mirror)
        image = image.contiguous(memory_format=torch.channels_last)
        logits = net(image)
        hot = functional.one_hot(label, classes).permute(0, 3, 1, 2)
        both = (0, 2, 3)
        overlap = (logits.softmax(1) * hot).sum(both)
        dice = (2 * overlap + 1e-5) / (
            logits.softmax(1).sum(both) + hot.sum(both) + 1e-5
        )
        loss = functional.cross_entropy(logits, label) + 1 - dice.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    return step


def run(config: ConfigDict, *, cpu_seconds: float, seed: int) -> Result:
    """Trains on a configuration's labelled patients and scores its test patients.

    Args:
        config: The resolved configuration of a run of ours.
        cpu_seconds: Processor time of the training, s.
        seed: Seed of the weights and of every draw.
    """
    torch.manual_seed(seed)
    dataset = load_dataset(config.data)
    split = make_split(dataset, config.data, draw_labeled=True)
    rows = np.concatenate([split.train_slices, split.val_slices])
    images = torch.tensor(dataset.images[rows]).permute(0, 3, 1, 2).float()
    labels = torch.tensor(dataset.labels[rows].astype(np.int64))
    model, classes = config.model, tuple(config.data.classes)
    width, num_classes = model.scratch_num_features, len(classes)
    net = make_net(
        model.channels,
        width,
        model.last_hidden or width,
        (num_classes,),
    )
    net = net.to(memory_format=torch.channels_last).train()
    spatial = config.augment.spatial
    mirror = spatial.flip_probability > 0 and spatial.get("upright") is not True
    started = time.perf_counter()
    steps = train(
        net, images, labels, classes=num_classes, seconds=cpu_seconds, mirror=mirror
    )
    seconds = time.perf_counter() - started
    net.eval()

    def predict(slices: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            batch = torch.tensor(np.asarray(slices, np.float32)).permute(0, 3, 1, 2)
            logits = net(batch)
        return logits.softmax(1).permute(0, 2, 3, 1).numpy()

    scores = evaluate_volumes(predict, dataset, split.test_volumes, classes=classes)
    return Result(scores, classes, steps, seconds)


def run_study(study: Path, *, cpu_seconds: float, seed: int) -> None:
    """Trains once for each number of patients and draw of a study's runs from scratch.

    Each ends with a line in STUDY/plain_unet.csv. What has a line is passed over.
    """
    path = study / "plain_unet.csv"
    done = read_rows(path)
    for cell in list_cells(study):
        key = (str(cell["num_labeled"]), str(cell["draw"]))
        if key in {(row["num_labeled"], row["draw"]) for row in done}:
            continue
        config = read_cell_config(study, cell)
        result = run(config, cpu_seconds=cpu_seconds, seed=seed)
        block = evaluation(result.scores, classes=result.classes)
        done.append(
            {
                "num_labeled": key[0],
                "draw": key[1],
                "seed": str(seed),
                "dice_mean_foreground": f"{block['dice']['mean_foreground']:.6f}",
                "hd95_mm_mean_foreground": f"{block['hd95_mm']['mean_foreground']:.4f}",
                "steps": str(result.steps),
                "cpu_seconds": f"{cpu_seconds:g}",
                "wall_seconds": f"{result.seconds:.0f}",
            }
        )
        write_rows(path, done)
        print(", ".join(f"{name} {value}" for name, value in done[-1].items()))


def list_cells(study: Path) -> list[dict[str, str]]:
    """Lists the runs from scratch of a study's study.csv, each draw once."""
    rows = read_rows(study / "study" / "study.csv")
    cells = {
        (row["num_labeled"], row["draw"]): row
        for row in rows
        if row["method"] == "baseline"
    }
    return list(cells.values())


def read_cell_config(study: Path, cell: dict[str, str]) -> ConfigDict:
    """Reads the configuration of a study's run."""
    name = f"finetune-{cell['num_labeled']}-{cell['draw']}-{cell['key']}"
    return ConfigDict(read_config(study / "study" / "cells" / name / "finetune"))


def main(argv: Sequence[str] | None = None) -> None:
    """Trains and scores for one run, or for every draw of a study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--workdir", type=Path, help="a workdir with a fine-tuning")
    place.add_argument("--study", type=Path, help="a study's workdir")
    parser.add_argument("--cpu-seconds", type=float, required=True)
    parser.add_argument("--json", type=Path, help="where a run's scores go, too")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(argv)
    options = {"cpu_seconds": flags.cpu_seconds, "seed": flags.seed}
    if flags.study:
        run_study(flags.study, **options)
        return
    config = ConfigDict(read_config(flags.workdir / "finetune"))
    result = run(config, **options)
    print(f"{count(result.steps, 'step')}, {result.seconds:.0f} s")
    print(table(result.scores, classes=result.classes))
    if flags.json:
        block = evaluation(result.scores, classes=result.classes)
        write_whole(flags.json, json.dumps({**block, "steps": result.steps}))


if __name__ == "__main__":
    main()
