"""--mode figures: pictures of what a workdir holds, as PNG and PDF."""

from collections.abc import Callable
from pathlib import Path

import jax
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.figures.curves import draw_curves
from pix2rep_jax.figures.embedded_slices import embed_middle_slices, embed_scans
from pix2rep_jax.figures.embedding_map import draw_embedding_map
from pix2rep_jax.figures.patients import draw_patients, patient_rows
from pix2rep_jax.figures.sampled_views import sample_views, some_slices
from pix2rep_jax.figures.similarity import draw_comparison
from pix2rep_jax.figures.views import draw_views
from pix2rep_jax.modes.run_pictures import (
    compare_run,
    draw_scored,
    in_network_order,
    read_series,
    write_picture,
)
from pix2rep_jax.runs.checkpoint_steps import check_steps
from pix2rep_jax.runs.data_checks import expected_slice_axis, select_usable
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.moved_scans import remember_root
from pix2rep_jax.runs.plan_file import take_recorded
from pix2rep_jax.runs.run_record import read_num_steps, read_run
from pix2rep_jax.runs.start import find_all_runs, find_pretraining, find_segmenters
from pix2rep_jax.runtime.progress_bar import open_progress_bar

__all__ = ["list_pictures", "run"]


def run(config: ConfigDict, workdir: Path) -> None:
    """Draws what the workdir holds into `<workdir>/figures`.

    A picture that lacks something is left out, and the reason is printed.

    Args:
        config: The whole configuration.
        workdir: The run's folder.

    Raises:
        InputError: If there is no run, or the folder cannot be written.
    """
    workdir = Path(workdir)
    made: list[str] = []
    left_out: list[str] = []
    folder = workdir / "figures"
    pictures = list_pictures(config, workdir)
    with open_progress_bar(len(pictures), description="figures", unit="picture") as bar:
        for name, picture in pictures.items():
            bar.set_postfix_str(name)
            try:
                figure = picture()
            except InputError as error:
                left_out.append(f"left out {name}.png: {error}")
            else:
                write_picture(figure, folder / name)
                made.append(f"{name}.png")
            bar.update()
    for sentence in left_out:
        print(sentence)
    print(f"made {', '.join(made) or 'no picture'} in {folder}")


def list_pictures(config: ConfigDict, workdir: Path) -> dict[str, Callable[[], Figure]]:
    """Lists the pictures by name, each as a function that draws it.

    Raises:
        InputError: As `run`. The functions raise it too, if they lack something.
    """
    checkpoint = config.init.checkpoint
    runs = find_all_runs(workdir, checkpoint=checkpoint)
    # A run of another version is refused here, before the scans are read.
    configs = {run: read_config(run) for run in runs}
    for each in runs:
        check_steps(each, read_num_steps(each))
    pictures = {"curves": lambda: draw_curves(read_series(runs))}
    try:
        settled = take_recorded(config, configs[runs[-1]])
        data = in_network_order(settled.data, runs)
        recorded = read_run(runs[-1]).slice_axis
        expected = expected_slice_axis(data, configs[runs[-1]], recorded)
        dataset = load_dataset(data, expected=expected)
        remember_root(data, workdir, dataset)
        split = make_split(dataset, data, draw_labeled=False)
    except InputError as error:
        print(f"left out all but the curves: {error}")
        return pictures
    scans, classes = (data, dataset, split), tuple(data.classes)

    def compared(choose):
        run = find_pretraining(workdir, checkpoint=checkpoint)
        return compare_run(*scans, run, choose=choose)

    def views() -> Figure:
        key, slices = (
            jax.random.key(config.seed),
            some_slices(dataset, split, side=data.size),
        )
        spatial = settled.spatial.to_dict()
        intensity = config.intensity.to_dict()
        sampled = sample_views(key, *slices, spatial=spatial, intensity=intensity)
        return draw_views(*sampled)

    def predictions() -> Figure:
        found = find_segmenters(workdir, checkpoint=checkpoint)
        usable, _ = select_usable(data, {run: read_config(run) for run in found})
        first = next(iter(usable))
        keep = config.segmentation.keep
        return draw_scored(*scans, first, evaluated=workdir / "evaluate", keep=keep)

    def patients() -> Figure:
        rows = patient_rows(dataset, split, num_classes=len(classes))
        return draw_patients(rows, classes=classes)

    return pictures | {
        "data": patients,
        "views": views,
        "similarity": lambda: draw_comparison(*compared(embed_scans), classes=classes),
        "embeddings": lambda: draw_embedding_map(
            **compared(embed_middle_slices)._asdict(), classes=classes, seed=config.seed
        ),
        "predictions": predictions,
    }
