"""Trains a plain PyTorch U-Net on the slices of a run of ours, for as many CPU seconds.

pip install -r requirements-bench.txt
python -m benchmarks.plain_unet --workdir runs/scratch --cpu-seconds 300

The network has the run's channels, and the run's images, labelled patients and test
patients. Sober settings: Adam, cosine, Dice and cross-entropy, batches of 8, rotations
within 20°, zooms of 0.8 to 1.25, noise and brightness. `--mirror` adds mirror images.
The length of the schedule follows from the first 20 steps.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from ml_collections import ConfigDict
from torch.nn import functional

from benchmarks.pytorch_step import make_net
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.evaluation.report import table
from pix2rep_jax.evaluation.score_volumes import evaluate_volumes
from pix2rep_jax.runs.manifest import read_config


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


def main(argv=None) -> None:
    """Trains, scores the test patients and prints the table of every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--cpu-seconds", type=float, required=True)
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(argv)
    torch.manual_seed(flags.seed)
    config = ConfigDict(read_config(flags.workdir / "finetune"))
    dataset = load_dataset(config.data)
    split = make_split(dataset, config.data, draw_labeled=True)
    rows = np.concatenate([split.train_slices, split.val_slices])
    images = torch.tensor(dataset.images[rows]).permute(0, 3, 1, 2).float()
    labels = torch.tensor(dataset.labels[rows].astype(np.int64))
    model, classes = config.model, tuple(config.data.classes)
    width = model.scratch_num_features
    net = make_net(model.channels, width, model.last_hidden or width, (len(classes),))
    net = net.to(memory_format=torch.channels_last).train()
    started = time.perf_counter()
    steps = train(
        net,
        images,
        labels,
        classes=len(classes),
        seconds=flags.cpu_seconds,
        mirror=flags.mirror,
    )
    net.eval()

    def predict(slices: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            batch = torch.tensor(np.asarray(slices, np.float32)).permute(0, 3, 1, 2)
            logits = net(batch)
        return logits.softmax(1).permute(0, 2, 3, 1).numpy()

    scores = evaluate_volumes(predict, dataset, split.test_volumes, classes=classes)
    print(f"{steps} steps, {time.perf_counter() - started:.0f} s with the scores")
    print(table(scores, classes=classes))


if __name__ == "__main__":
    main()
