"""Measures what minutes of training are worth: ours, ours pretrained, a plain U-Net.

pip install -r requirements-bench.txt
python -m benchmarks.dice_over_time --folder T --root ACDC --pretrained runs/acdc
python -m benchmarks.dice_over_time --folder T --picture dice_over_time.png

Each point is a whole training with a schedule of its own length. The three take turns,
from the shortest to the longest, and each is a process, timed from its start to its
scores. The plain U-Net trains for the processor time that ours from scratch has taken,
all of it. Each point is a line in T/dice_over_time.csv; what has a line is passed
over. The pretraining itself is not in the times.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from benchmarks.csv_file import read_rows, write_rows
from pix2rep_jax.wording import count

HERE = Path(__file__).resolve().parents[1]
NAME = "dice_over_time.csv"
STEPS = (225, 450, 900, 1800, 3600)
METHODS = {
    "scratch": ("ours, from scratch", "C7", "o"),
    "pretrained": ("ours, pretrained", "C0", "s"),
    "plain_unet": ("plain U-Net (PyTorch)", "C1", "^"),
}
"""Title, colour and marker of each method, in the order of their turns."""


class Point(NamedTuple):
    """One training.

    Attributes:
        set: Name of the data set's folder.
        method: A key of `METHODS`.
        num_labeled: Number of labelled patients.
        draw: Number of their draw.
        steps: Steps of ours, for which the plain U-Net gets as much processor time.
    """

    set: str
    method: str
    num_labeled: str
    draw: str
    steps: str


def measure(
    root: Path,
    pretrained: Path,
    folder: Path,
    *,
    num_labeled: int,
    draw: int,
    cores: Sequence[int],
) -> None:
    """Trains and scores every method for every length.

    Args:
        root: The data set's folder.
        pretrained: The workdir of a pretraining on it.
        folder: Where the runs and the table go.
        num_labeled: Number of labelled patients.
        draw: Number of their draw.
        cores: CPU cores to keep to; none for all.
    """
    done = read_points(folder)
    for steps in STEPS:
        for method in METHODS:
            point = Point(root.name, method, str(num_labeled), str(draw), str(steps))
            if point in done:
                continue
            run = folder / "-".join((point.set, point.num_labeled, point.draw))
            if method == "plain_unet":
                budget = done[point._replace(method="scratch")]["cpu_seconds"]
                result = run / f"plain-{steps}.json"
                words = ["-m", "benchmarks.plain_unet", f"--cpu-seconds={budget}"]
                words += [f"--workdir={run / f'scratch-{steps}'}", f"--json={result}"]
            else:
                start = pretrained if method == "pretrained" else "none"
                result = run / f"{method}-{steps}" / "finetune" / "evaluation.json"
                words = ["main.py", "--config=configs/pix2rep.py:small"]
                words += ["--mode=finetune", f"--workdir={result.parents[1]}"]
                words += [f"--config.data.root={root}"]
                words += [f"--config.data.num_labeled={num_labeled}"]
                words += [f"--config.data.draw={draw}"]
                words += [f"--config.finetune.num_steps={steps}"]
                words += [f"--config.init.checkpoint={start}"]
            wall, cpu = time_command([sys.executable, *words], cores=cores)
            scores = json.loads(result.read_text())
            dice, hd95 = (scores[key]["mean_foreground"] for key in ("dice", "hd95_mm"))
            done[point] = {
                "wall_seconds": f"{wall:.1f}",
                "cpu_seconds": f"{cpu:.1f}",
                "dice_mean_foreground": f"{dice:.6f}",
                "hd95_mm_mean_foreground": f"{hd95:.4f}",
            }
            write_points(folder, done)
            print(*point, *done[point].values(), flush=True)


def time_command(words: list[str], *, cores: Sequence[int]) -> tuple[float, float]:
    """Runs a command, and returns its seconds by the clock and on the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()

    def keep_to_cores() -> None:
        if cores:
            os.sched_setaffinity(0, cores)

    subprocess.run(
        words, cwd=HERE, check=True, stdout=subprocess.DEVNULL, preexec_fn=keep_to_cores
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used


def read_points(folder: Path) -> dict[Point, dict[str, str]]:
    """Reads the table: the measured values of each point."""
    points = {}
    for row in read_rows(folder / NAME):
        point = Point(*(row.pop(name) for name in Point._fields))
        points[point] = row
    return points


def write_points(folder: Path, points: dict[Point, dict[str, str]]) -> None:
    """Writes the table as a whole."""
    rows = [point._asdict() | values for point, values in points.items()]
    write_rows(folder / NAME, rows)


def draw_picture(folder: Path, path: Path) -> None:
    """Draws Dice against minutes: a panel for each data set and number of patients.

    Args:
        folder: Holds the table.
        path: The picture's.
    """
    points = read_points(folder)
    panels = list(dict.fromkeys((each.set, each.num_labeled) for each in points))
    figure = Figure(figsize=(3.6 * len(panels), 3), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, number) in zip(axes, panels, strict=True):
        for method, (title, colour, marker) in METHODS.items():
            line = [
                (
                    float(values["cpu_seconds"]) / 60,
                    100 * float(values["dice_mean_foreground"]),
                )
                for point, values in points.items()
                if (point.set, point.num_labeled, point.method)
                == (name, number, method)
            ]
            axis.plot(
                *zip(*line, strict=True), color=colour, marker=marker, label=title
            )
        patients = count(int(number), "patient")
        axis.set_title(f"{name}, {patients} with masks", fontsize=10)
        axis.set_xlabel("minutes of one core")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("foreground Dice, %")
    axes[-1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what is missing, or draws what there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--root", type=Path, help="a data set's folder")
    parser.add_argument("--pretrained", type=Path, help="a pretraining's workdir")
    parser.add_argument("--labeled", type=int, default=5)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--cores", default="", help="such as 0, or 0,1")
    parser.add_argument("--picture", type=Path, help="draw the table there")
    flags = parser.parse_args(argv)
    if flags.picture:
        draw_picture(flags.folder, flags.picture)
        return
    measure(
        flags.root.resolve(),
        flags.pretrained.resolve(),
        flags.folder.resolve(),
        num_labeled=flags.labeled,
        draw=flags.draw,
        cores=[int(each) for each in flags.cores.split(",") if each],
    )


if __name__ == "__main__":
    main()
