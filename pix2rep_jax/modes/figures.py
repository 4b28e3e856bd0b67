"""--mode figures: pictures of what a workdir holds, as PNG and PDF."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import Dataset, load_dataset
from pix2rep_jax.data.splits import Split, check_unseen, is_scored_alike, make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.report import GROUND_TRUTH_NOTE, read_foreground_dice
from pix2rep_jax.figures import selection
from pix2rep_jax.figures.curves import draw_curves
from pix2rep_jax.figures.drawing import save
from pix2rep_jax.figures.embedded_slices import EmbeddedSlices, embed_middle_slices
from pix2rep_jax.figures.embedding_map import draw_embedding_map
from pix2rep_jax.figures.panels import predicted_panel, scan_panels
from pix2rep_jax.figures.patients import draw_patients
from pix2rep_jax.figures.predictions import choose_volumes, draw_predictions
from pix2rep_jax.figures.similarity import draw_similarity, query_pixels
from pix2rep_jax.figures.views import choose_points, draw_views
from pix2rep_jax.inference.pixel_embeddings import load_embed
from pix2rep_jax.inference.segmenter import find_runs, load_predict
from pix2rep_jax.modes.evaluate import check_same_data
from pix2rep_jax.modes.pretrain import NEUTRAL
from pix2rep_jax.runs.manifest import find_run, make_folder, read_config
from pix2rep_jax.runs.metric_log import read_metrics
from pix2rep_jax.views.sampling import make_views, sample_points

__all__ = ["run"]

_NUM_VIEWS = 4  # images
_NUM_POINTS = 5  # marked in each of them
_NUM_ROWS = 5  # patients in the picture of the data


def run(config: ConfigDict, workdir: Path) -> None:
    """Draws what the workdir holds into `<workdir>/figures`.

    A picture that lacks what it needs is left out, and the reason is printed.

    Args:
        config: The whole configuration; `seed`, `data`, `spatial`, `intensity` and
            `init.checkpoint` are read.
        workdir: The run's folder.

    Raises:
        InputError: If there is neither a pretraining run nor a segmenter, or the
            folder cannot be written.
    """
    workdir, made = Path(workdir), []
    folder = workdir / "figures"
    for name, picture in list_pictures(config, workdir).items():
        try:
            figure = picture()
        except InputError as error:
            print(f"left out {name}.png: {error}")
            continue
        try:
            make_folder(folder)
            save(figure, folder / name)
        except OSError as error:
            raise InputError(
                f"{folder} cannot be written ({error.strerror}): free some space or "
                "name another --workdir"
            ) from error
        made.append(f"{name}.png")
    print(f"made {', '.join(made) or 'no picture'} in {folder}")


def list_pictures(config: ConfigDict, workdir: Path) -> dict[str, Callable[[], Figure]]:
    """Lists the pictures by name, each as a function that draws it.

    Raises:
        InputError: If there is neither a pretraining run nor a segmenter. The
            functions raise it too, if what they need is not there.
    """
    runs = find_all_runs(config, workdir)
    pictures = {"curves": lambda: picture_curves(runs)}
    try:
        dataset = load_dataset(config.data)
        split = make_split(dataset, config.data, draw_labeled=False)
    except InputError as error:
        print(f"left out all but the curves: {error}")
        return pictures
    compared = functools.cache(lambda: find_compared(config, dataset, split, workdir))
    return pictures | {
        "data": lambda: picture_data(config, dataset, split),
        "views": lambda: picture_views(config, dataset, split),
        "similarity": lambda: picture_similarity(config, compared()),
        "embeddings": lambda: picture_embeddings(config, compared()),
        "predictions": lambda: picture_predictions(config, dataset, split, workdir),
    }


def find_pretrained(config: ConfigDict, workdir: Path) -> Path:
    """Finds the pretraining run of a workdir, or of `init.checkpoint`.

    Raises:
        InputError: If there is none.
    """
    try:
        return find_run(workdir, "pretrain")
    except InputError:
        if config.init.checkpoint in ("", "none"):
            raise
        return find_run(config.init.checkpoint, "pretrain")


def find_all_runs(config: ConfigDict, workdir: Path) -> list[Path]:
    """Finds the pretraining, fine-tuning and probing runs that there are.

    Raises:
        InputError: If there is none.
    """
    runs = []
    with contextlib.suppress(InputError):
        runs.append(find_pretrained(config, workdir))
    with contextlib.suppress(InputError):
        runs += find_runs(workdir, elsewhere=config.init.checkpoint)
    if not runs:
        raise InputError(
            f"there is nothing to draw in {workdir}: run --mode pretrain there first, "
            "or name a run's folder by --config.init.checkpoint"
        )
    return runs


def picture_curves(runs: Sequence[Path]) -> Figure:
    """Draws the metrics that the runs logged.

    Raises:
        InputError: If they have logged none yet.
    """
    paths = {run.name: run / "metrics.jsonl" for run in runs}
    series = {
        mode: read_metrics(path) for mode, path in paths.items() if path.is_file()
    }
    if not any(series.values()):
        raise InputError("no run has logged anything yet: let one go on for a while")
    return draw_curves(series)


def picture_data(config: ConfigDict, dataset: Dataset, split: Split) -> Figure:
    """Draws a few patients' slices, first to last of those that show a structure."""
    classes = tuple(config.data.classes)
    patients = split.pretrain_patients or split.test_patients
    volumes = selection.first_volumes(
        dataset, patients, labeled=True
    ) or selection.first_volumes(dataset, patients, labeled=False)
    rows = []
    for index in selection.by_group(dataset, volumes, number=_NUM_ROWS):
        first = dataset.volumes[index]
        own = [
            volume
            for volume in dataset.volumes
            if volume.patient == first.patient and volume.label_path is not None
        ]
        panels = []
        for record in own[:2] or [first]:
            panels += scan_panels(record, num_classes=len(classes))
        rows.append((f"{first.patient}\n{first.group}".strip(), panels))
    return draw_patients(rows, classes=classes)


def picture_views(config: ConfigDict, dataset: Dataset, split: Split) -> Figure:
    """Draws the two views of pretraining slices, as the configuration samples them."""
    patients = split.pretrain_patients or split.test_patients
    volumes = selection.first_volumes(dataset, patients, labeled=False)
    chosen = [
        selection.middle_slice(dataset, v)
        for v in selection.spread(volumes, _NUM_VIEWS)
    ]
    images = dataset.images[chosen]
    view_a, view_b, sources, valid, points = sample_views(
        jax.random.key(config.seed),
        images,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
        num_points=min(256, images[0].size),
    )
    marked = []
    for own, mask, origin in zip(points, valid, sources, strict=True):
        pixels = np.stack(np.unravel_index(own, mask.shape), -1)
        pixels = pixels[mask.reshape(-1)[own]]
        marked.append(choose_points(pixels, origin, number=_NUM_POINTS))
    return draw_views(images, view_a, view_b, sources, valid, marked)


def sample_views(
    key: jax.Array, images: np.ndarray, *, spatial, intensity, num_points: int
) -> tuple[np.ndarray, ...]:
    """Samples views and points of `[batch, height, width]` images, as training does.

    Returns:
        `view_a`, `view_b`, `sources`, `valid` as in `views.Views` but without
        channels, and `[batch, num_points]` flat indices of pixels of `view_b`.
    """

    def sample(key: jax.Array, image: jax.Array) -> tuple[jax.Array, ...]:
        view_key, point_key = jax.random.split(key)
        views = make_views(view_key, image, spatial=spatial, intensity=intensity)
        points, _ = sample_points(point_key, views.valid, num_points=num_points)
        return (views.view_a[..., 0], views.view_b[..., 0], *views[2:], points)

    return tuple(map(np.asarray, jax.jit(sample)(key, images[..., None])))


def find_compared(
    config: ConfigDict, dataset: Dataset, split: Split, workdir: Path
) -> EmbeddedSlices:
    """Embeds slices of three test patients by the pretrained network.

    Raises:
        InputError: If there is no pretrained network, or it expects other data.
    """
    run = find_pretrained(config, workdir)
    # Labels play no part in pretraining, so neither does how many of them were asked.
    neutral = [name.removeprefix("data.") for name in NEUTRAL]
    ours = {name: config.data[name] for name in neutral}
    check_same_data(config.data, read_config(run)["data"] | ours, run)
    check_unseen(split, run)
    return embed_middle_slices(dataset, split, load_embed(run))


def picture_similarity(config: ConfigDict, compared: EmbeddedSlices) -> Figure:
    """Draws the pixels of two test patients that are likest to those of a third."""
    classes = tuple(config.data.classes)
    images, embeddings, labels, names = compared
    own = None if labels is None else labels[0]
    return draw_similarity(
        images,
        embeddings,
        query_pixels(own, classes=classes, size=config.data.size),
        names=names,
        labels=labels,
        classes=classes,
    )


def picture_embeddings(config: ConfigDict, compared: EmbeddedSlices) -> Figure:
    """Draws the embeddings' t-SNE and three test patients coloured by it.

    Raises:
        InputError: If scikit-learn is not installed.
    """
    return draw_embedding_map(
        compared.images,
        compared.embeddings,
        names=compared.names,
        labels=compared.labels,
        classes=tuple(config.data.classes),
        seed=config.seed,
    )


def picture_predictions(
    config: ConfigDict, dataset: Dataset, split: Split, workdir: Path
) -> Figure:
    """Draws the best, the median and the worst test volume of the preferred segmenter.

    Raises:
        InputError: If there is no segmenter, it expects other data, or it has not
            been scored.
    """
    run = find_runs(workdir, elsewhere=config.init.checkpoint)[0]
    check_same_data(config.data, read_config(run)["data"], run)
    table = find_scores(config, split, workdir, run)
    classes, predict = tuple(config.data.classes), load_predict(run)
    index_of = {v.volume_id: i for i, v in enumerate(dataset.volumes)}
    panels = []
    for rank, volume_id in choose_volumes(read_foreground_dice(table)).items():
        if volume_id not in index_of:
            raise InputError(
                f"{table} scores {volume_id}, which is not in the configuration's "
                "data: run --mode evaluate on them"
            )
        volume = index_of[volume_id]
        panels.append(
            predicted_panel(predict, dataset, volume, rank=rank, classes=classes)
        )
    note = GROUND_TRUTH_NOTE if config.data.crop == "mask_box" else ""
    return draw_predictions(panels, classes=classes, mode=run.name, note=note)


def find_scores(config: ConfigDict, split: Split, workdir: Path, run: Path) -> Path:
    """Finds the table with a segmenter's scores on the configuration's data.

    Raises:
        InputError: If it has not been scored on them.
    """
    trained_on = read_config(run)["data"]
    tables = [workdir / "evaluate" / run.name / "per_volume.csv"]
    same_place = all(config.data[x] == trained_on[x] for x in ("name", "root"))
    if same_place or is_scored_alike(split, run):
        tables.insert(0, run / "per_volume.csv")
    for table in tables:
        if table.is_file():
            return table
    raise InputError(
        f"the network in {run} has no scores on these scans: run --mode evaluate"
    )
