"""Prepares up to 10,000 volumes, and starts again from their cache.

python -m benchmarks.scale [--volumes 100,300,1000] [--folder FOLDER] [--write]

Each volume has 16 slices of 256 x 256 px, which become 128 x 128. The scans are noise
of 64 kinds: more of them are hard links, so that a small disk holds them. The program
reads every one anew, but the system finds it in its own cache. For each number of
volumes there are two starts, each in a process of its own: one prepares the volumes,
the other finds them prepared and draws batches. The peak of memory is that of this
process, and of its largest child for each core. `--write` adds the lines to
results/scale.csv, and draws docs/pictures/scale.png from the whole file.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.csv_file import keep_others, write_rows
from configs.pix2rep import get_config
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.fit.plan import plan_data
from pix2rep_jax.data.fit.settle import settle_data
from pix2rep_jax.data.splits import make_split, take_pretraining_slices

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PICTURE = ROOT / "results" / "scale.csv", ROOT / "docs/pictures/scale.png"
SHAPE, SIZE, KINDS = (256, 256, 16), 128, 64
BATCHES, BATCH = 50, 16


def write_scans(folder: Path, number: int) -> None:
    """Writes scans without masks; the first ones are files, the others links."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for index in range(number):
        path = folder / f"scan{index:05d}.nii"
        if index < KINDS:
            pixels = noise.integers(0, 1000, SHAPE, dtype=np.int16)
            nib.save(nib.Nifti1Image(pixels, np.diag((1.4, 1.4, 8.0, 1.0))), path)
        else:
            os.link(folder / f"scan{index % KINDS:05d}.nii", path)


def measure(folder: Path) -> dict[str, float]:
    """Loads the scans as a pretraining does, and draws batches."""
    started = time.perf_counter()
    data = get_config("quick").data
    data.update(name="auto", root=str(folder / "scans"), size=SIZE, crop="center")
    data.update(cache_dir=str(folder / "cache"), spacing_mm=2.5, crop_px=SIZE)
    data.update(cache_gb=0.0, holdout_per_group=0)
    with data.ignore_type():
        data.update(classes=(), normalization="auto")
        data.update(settle_data(data).settings)
    data = plan_data(data)
    planned = time.perf_counter()
    dataset = load_dataset(data, progress=False)
    split = make_split(dataset, data, draw_labeled=False)
    slices = take_pretraining_slices(dataset, split)
    loaded = time.perf_counter()
    order = np.random.default_rng(0)
    for _ in range(BATCHES):
        rows = order.integers(0, len(slices["image"]), BATCH)
        assert slices["image"][rows].shape == (BATCH, SIZE, SIZE, 1)
    drawn = time.perf_counter()
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    other = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    cores = len(os.sched_getaffinity(0))
    return {
        "plan_s": planned - started,
        "load_s": loaded - planned,
        "batch_ms": 1000 * (drawn - loaded) / BATCHES,
        "peak_gb": (own + cores * other) * 1024 / 1e9,
        "cores": cores,
    }


def start(folder: Path) -> dict[str, float]:
    """Measures in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.scale", "--measure", str(folder)]
    done = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def run(folder: Path, number: int) -> dict[str, float | int]:
    """Prepares a number of volumes, and starts again from the cache."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    write_scans(folder / "scans", number)
    cold, warm = start(folder), start(folder)
    cache = sum(x.stat().st_size for x in (folder / "cache").rglob("*") if x.is_file())
    shutil.rmtree(folder)
    return {
        "volumes": number,
        "cores": cold["cores"],
        "prepare_s": round(cold["plan_s"] + cold["load_s"], 2),
        "ms_per_volume": round(1000 * (cold["plan_s"] + cold["load_s"]) / number, 2),
        "prepare_peak_gb": round(cold["peak_gb"], 3),
        "warm_start_s": round(warm["plan_s"] + warm["load_s"], 2),
        "warm_peak_gb": round(warm["peak_gb"], 3),
        "batch_ms": round(warm["batch_ms"], 2),
        "cache_gb": round(cache / 1e9, 3),
    }


def draw(rows: list[dict[str, str]]) -> None:
    """Draws memory and time by the number of volumes."""
    import matplotlib.pyplot as plt

    volumes = [int(row["volumes"]) for row in rows]
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
    shown = (
        (
            "peak memory, GB",
            (("prepare_peak_gb", "first start"), ("warm_peak_gb", "later")),
        ),
        ("first start, ms per volume", (("ms_per_volume", ""),)),
        ("later start, s", (("warm_start_s", ""),)),
    )
    for axis, (title, columns) in zip(axes, shown, strict=True):
        for column, label in columns:
            values = [float(row[column]) for row in rows]
            axis.plot(volumes, values, "o-", label=label)
        axis.set(xscale="log", xlabel="volumes", title=title)
        axis.set_ylim(bottom=0)
    axes[0].legend(frameon=False)
    figure.savefig(PICTURE, dpi=150)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", default="100,300,1000")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "scale")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--measure", type=Path)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    found = []
    for number in map(int, given.volumes.split(",")):
        found.append(run(given.folder.resolve(), number))
        print(json.dumps(found[-1]), flush=True)
    if not given.write:
        return
    new = [{name: str(value) for name, value in row.items()} for row in found]
    rows = keep_others(RESULTS, new, ("volumes",))
    rows.sort(key=lambda row: int(row["volumes"]))
    write_rows(RESULTS, rows)
    draw(rows)


if __name__ == "__main__":
    main()
