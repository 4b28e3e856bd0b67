"""A handful of drawn headers and folders through a real network."""

import contextlib
import functools
import io
import math
import shutil
from pathlib import Path

import nibabel as nib

from tests.faults.long import headers, scene, trees
from tests.faults.long.drawn import first_accepted
from tests.faults.long.record import Result
from tests.support.program import TINY


def header(work: Path, drawing, number: int) -> Result:
    """Segments a file that the stub segmented: the mask has its shape."""
    import pix2rep_jax

    with scene.alone(work):
        scene.make_base(work)
    place = work / "scenes" / "header"
    drawn = first_accepted(drawing, functools.partial(headers.check, place), number)
    scan, mask = place / f"real{drawn.ending}", place / "real_mask.nii.gz"
    headers.write(scan, drawn)
    with contextlib.redirect_stdout(io.StringIO()):
        done = pix2rep_jax.predict(work / "base" / "run", scan, mask, overwrite=True)
    assert done.complete and nib.load(mask).shape == headers.shape_of(drawn.content)
    return Result("header", "", same=1)


def tree(work: Path, drawing, number: int) -> Result:
    """Trains a step on a folder that was loaded: its loss is finite."""
    import pix2rep_jax
    from pix2rep_jax.runs.metric_log import read_metrics

    place = work / "scenes" / "tree"
    drawn = first_accepted(drawing, functools.partial(trees.check, place), number)
    folder, out = place / "real", place / "run"
    for each in (folder, out):
        shutil.rmtree(each, ignore_errors=True)
    folder.mkdir()
    trees.write(folder, drawn)
    settings = {name.replace(".", "__"): value for name, value in TINY.items()}
    settings = {x: y for x, y in settings.items() if not x.startswith("data")}
    settings |= {"pretrain__num_steps": 1, "data__cache_dir": place / "cache"}
    with contextlib.redirect_stdout(io.StringIO()):
        run = pix2rep_jax.pretrain(folder, out=out, size="quick", **settings)
    _, losses = read_metrics(run.folder / "metrics.jsonl")["loss"]
    assert len(losses) == 1 and math.isfinite(losses[0])
    return Result("tree", "", same=1)
