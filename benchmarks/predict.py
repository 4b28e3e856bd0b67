"""Measures --mode predict: a folder of scans, and what of it is the network's own time.

python -m benchmarks.predict --scans ACDC/training --most 20
python -m benchmarks.predict --scans ACDC/training --workdir runs/acdc

The rows are: the network on the scans' slices alone, in full batches; one scan after
another, each read, predicted, restored pixel by pixel and written; and the program's
way. They take turns. Without --workdir the network has random weights, so its masks are
noise, which compresses badly. The masks of both ways must be equal.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.step import CASES, get_config
from pix2rep_jax.data.files import nifti
from pix2rep_jax.data.files.scan import write_mask
from pix2rep_jax.data.preparation import field_of_view_mm
from pix2rep_jax.data.slices.resample import restore_probabilities
from pix2rep_jax.inference.found_scans import find_scans
from pix2rep_jax.inference.predict import make_predictors
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.inference.write_masks import write_masks
from pix2rep_jax.models.build import make_segmentation_net
from pix2rep_jax.runtime.huge_pages import use_huge_pages
from pix2rep_jax.wording import count

Pairs = Sequence[tuple[Path, Path]]


def make_segmenter(case: str) -> Segmenter:
    """Makes a segmenter of random weights."""
    config = get_config(case, "info_nce")
    size = config.data.size
    if config.data.spacing_mm == "auto":
        config.data.spacing_mm = 2.5  # what ACDC's scans make of it
    net = make_segmentation_net(config, scratch=True)
    init = jax.jit(functools.partial(net.init, train=False))
    variables = init(jax.random.key(0), jnp.zeros((1, size, size, 1)))
    return Segmenter(
        classes=tuple(config.data.classes),
        predict_network=make_predictors(net, {"": variables}, batch_size=8)[""],
        percentiles=tuple(config.data.percentiles),
        fov_mm=field_of_view_mm(config.data),
        size=size,
        batch_size=8,
    )


def prepare_all(segmenter: Segmenter, pairs: Pairs) -> np.ndarray:
    """Returns the `[slices, height, width, channels]` of all scans."""
    volumes = (segmenter.read_files([scan]) for scan, _ in pairs)
    return np.concatenate(
        [segmenter.prepare(v.array, spacing_mm=v.spacing_mm)[0] for v in volumes]
    )


def one_after_another(segmenter: Segmenter, pairs: Pairs) -> None:
    """Writes the masks in a plain loop, which has nothing beside anything else."""
    for scan, target in pairs:
        volume = segmenter.read_files([scan])
        labels = np.zeros(volume.array.shape[:4], np.uint8)
        for frame in range(labels.shape[3]):
            images, grid = segmenter.prepare(
                volume.array[:, :, :, [frame]], spacing_mm=volume.spacing_mm
            )
            for index, each in enumerate(segmenter.predict_network(images)):
                labels[..., index, frame] = restore_probabilities(each, grid).argmax(-1)
        write_mask(target, labels, volume, overwrite=True)


def together(segmenter: Segmenter, pairs: Pairs) -> None:
    """Writes the masks as the program does."""
    for outcome in write_masks(segmenter, pairs, overwrite=True):
        if outcome.error:
            raise outcome.error


def take_turns(
    rows: dict[str, Callable[[], object]], *, rounds: int
) -> dict[str, np.ndarray]:
    """Returns `[rounds, 2]` for each row: seconds, and seconds of all cores."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, row in rows.items():
            wall, cores = time.perf_counter(), time.process_time()
            row()
            if number:  # the first round compiles
                ended = time.perf_counter() - wall, time.process_time() - cores
                spent[name].append(ended)
    return {name: np.array(values) for name, values in spent.items()}


def count_differing(before: Pairs, after: Pairs) -> int:
    """Counts the pixels at which the masks of both ways differ."""
    return sum(
        int((nifti.read_image(one)[1] != nifti.read_image(other)[1]).sum())
        for (_, one), (_, other) in zip(before, after, strict=True)
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scans", type=Path, required=True, help="a folder of scans")
    parser.add_argument("--most", type=int, default=20, help="number of scans")
    parser.add_argument("--case", choices=CASES, default="small")
    parser.add_argument("--workdir", type=Path, help="a run, for its network")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    segmenter = make_segmenter(arguments.case)
    if arguments.workdir:
        segmenter = Segmenter.load(arguments.workdir)
    scans = [each.path for each in find_scans(arguments.scans).scans][: arguments.most]
    with tempfile.TemporaryDirectory() as folder:
        before, after = (
            [(s, Path(folder, f"{way}{i}.nii.gz")) for i, s in enumerate(scans)]
            for way in ("before", "after")
        )
        images = prepare_all(segmenter, before)
        rows = {
            "network alone": lambda: segmenter.predict_network(images),
            "one after another": lambda: one_after_another(segmenter, before),
            "together": lambda: together(segmenter, after),
        }
        spent = take_turns(rows, rounds=arguments.rounds)
        differing = count_differing(before, after)
    given = f"{count(len(scans), 'scan')}, {count(len(images), 'slice')}"
    print(f"{given}; different: {count(differing, 'pixel')}")
    print(f"{'':20}{'s':>8}{'of the network':>22}{'cores s':>10}{'of the network':>22}")
    base = spent["network alone"]
    for name, values in spent.items():
        line = f"{name:20}"
        for column in (0, 1):
            ratios = values[:, column] / base[:, column]
            low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
            line += f"{np.median(values[:, column]):{8 + 2 * column}.2f}"
            line += f"{middle:10.2f} ({low:.2f}-{high:.2f})"
        print(line)


if __name__ == "__main__":
    use_huge_pages()  # as main.py does
    main()
