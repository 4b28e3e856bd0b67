"""The parts of a report that show scans: cases, doubtful ones, those to label next."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from pix2rep_jax.data.dataset import Dataset, take_own
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.evaluation.report import read_foreground_dice
from pix2rep_jax.figures.drawing import class_color
from pix2rep_jax.figures.panels import (
    Panel,
    field_of_view,
    predicted_panel,
    read_own_grid,
)
from pix2rep_jax.figures.predictions import choose_volumes
from pix2rep_jax.figures.selection import spread
from pix2rep_jax.inference.doubt import DOUBT_RULE, doubt, most_doubtful_slice
from pix2rep_jax.inference.label_next import (
    FARTHEST_RULE,
    choose_farthest,
    describe_scan,
    standardise,
)
from pix2rep_jax.inference.predict import predict_volume
from pix2rep_jax.modes.report_names import Names
from pix2rep_jax.page.document import legend, section, text
from pix2rep_jax.page.slice_picture import captioned, slice_picture
from pix2rep_jax.runtime.progress_bar import open_progress_bar

__all__ = [
    "Doubted",
    "case_part",
    "doubt_part",
    "doubt_scans",
    "next_part",
    "usable_volumes",
]

Network = Callable[[np.ndarray], np.ndarray]

_MOST_SCANS = 200
"""So many scans, evenly spread, are predicted and embedded at most."""

_SHOWN = 5


class Doubted(NamedTuple):
    """A scan that a network has segmented.

    Attributes:
        volume: Index into the data set's volumes.
        doubt: How unsure the network is, 0 to 1.
        slice_index: The most doubtful slice, in the scan.
        label: `[rows, columns]`, the classes of that slice.
    """

    volume: int
    doubt: float
    slice_index: int
    label: np.ndarray


def usable_volumes(dataset: Dataset, patients: Sequence[str]) -> list[int]:
    """Lists the volumes of patients that have a slice, at most `_MOST_SCANS`."""
    has_slices = set(dataset.volume_index.tolist())
    found = [
        index
        for index, volume in enumerate(dataset.volumes)
        if index in has_slices and volume.patient in set(patients)
    ]
    return spread(found, _MOST_SCANS)


def doubt_scans(
    predict: Network, dataset: Dataset, volumes: Sequence[int]
) -> list[Doubted]:
    """Segments scans, and measures the doubt of each."""
    found = []
    with open_progress_bar(
        len(volumes), description="segment scans", unit="scan", delay_s=5.0
    ) as bar:
        for volume in volumes:
            probabilities, native = predict_volume(predict, dataset, volume)
            rows = np.flatnonzero(dataset.volume_index == volume)
            place = int(dataset.slice_index[rows[most_doubtful_slice(probabilities)]])
            label = native[..., place].copy()
            found.append(Doubted(volume, doubt(probabilities), place, label))
            bar.update()
    return found


def case_part(
    networks: Mapping[str, Network],
    dataset: Dataset,
    scores: Path,
    *,
    classes: Sequence[str],
    names: Names,
) -> str:
    """Shows the best, the median and the worst test scan of the first network.

    Args:
        networks: What segments, by title.
        dataset: Holds the scans.
        scores: The first network's per_volume.csv.
        classes: Names of the classes, background first.
        names: What patients are called.
    """
    index_of = {x.volume_id: i for i, x in enumerate(dataset.volumes)}
    dice = {x: y for x, y in read_foreground_dice(scores).items() if x in index_of}
    parts = [class_legend(classes)]
    for rank, volume_id in choose_volumes(dice).items():
        volume = index_of[volume_id]
        record = dataset.volumes[volume]
        figures: list[str] = []
        title = names.scan(record)
        for name, predict in networks.items():
            panel = predicted_panel(
                predict, dataset, volume, rank=rank, classes=classes
            )
            _, _, by_class = panel.title.partition("\n")
            if not figures:
                figures.append(_pictured(panel, panel.label, "expert", "", classes))
            figures.append(_pictured(panel, panel.prediction, name, by_class, classes))
        parts.append(f"<h3>{rank.capitalize()}: {text(title)}</h3>")
        columns = f'style="--columns: {len(figures)}"'
        parts.append(f'<div class="case" {columns}>{"".join(figures)}</div>')
    title = "The best, the median and the worst test scan"
    note = "The middle slice of each, and the Dice of its whole scan."
    return section(title, f'<p class="note">{note}</p>', *parts, kind="long")


def doubt_part(
    scans: Sequence[Doubted],
    dataset: Dataset,
    scores: Mapping[str, float],
    *,
    classes: Sequence[str],
    names: Names,
) -> str:
    """Shows the most doubtful predictions, and whether doubt has told errors.

    Args:
        scans: From `doubt_scans`.
        dataset: Holds the scans.
        scores: Foreground Dice by volume id, of those that are scored.
        classes: Names of the classes, background first.
        names: What patients are called.
    """
    figures = []
    for each in sorted(scans, key=lambda x: -x.doubt)[:_SHOWN]:
        dice = scores.get(dataset.volumes[each.volume].volume_id)
        words = f"doubt {each.doubt:.2f}"
        words += f"; test, Dice {100 * dice:.1f} %" if dice is not None else ""
        figures.append(_doubted_picture(each, dataset, words, classes, names))
    pairs = [
        (each.doubt, scores[dataset.volumes[each.volume].volume_id])
        for each in scans
        if dataset.volumes[each.volume].volume_id in scores
    ]
    rule = f"{DOUBT_RULE}. Each picture shows the slice with the most entropy."
    differ = all(len({*values}) > 1 for values in zip(*pairs, strict=True))
    if len(pairs) >= 10 and differ:
        rank = float(spearmanr(*zip(*pairs, strict=True)).statistic)
        if not math.isnan(rank):
            rule += (
                f" On the {len(pairs)} test scans the rank correlation of doubt and "
                f"Dice is {rank:.2f}; near -1, doubt tells errors well."
            )
    return section(
        "Look at these first",
        f'<p class="note">{text(rule)}</p>',
        class_legend(classes),
        f'<div class="cases">{"".join(figures)}</div>',
    )


def next_part(
    scans: Sequence[Doubted],
    embed: Network | str,
    dataset: Dataset,
    split: Split,
    *,
    classes: Sequence[str],
    names: Names,
) -> str:
    """Proposes which patients to label next, by two rules.

    Args:
        scans: From `doubt_scans`.
        embed: Maps images to features; or why there is none.
        dataset: Holds the scans.
        split: Says who is labelled and who is a candidate.
        classes: Names of the classes, background first.
        names: What patients are called.
    """
    fixed = {*split.labeled_patients, *split.test_patients, *split.val_patients}
    pool = [x for x in split.pretrain_patients if x not in fixed]
    if not pool:
        said = "<p>Every patient that trains is labelled already.</p>"
        return section("Which scan to label next", said)
    candidates = usable_volumes(dataset, pool)
    parts = ["<h3>Least like the labelled ones</h3>"]
    if isinstance(embed, str):
        parts.append(f'<p class="note">Left out: {text(embed)}.</p>')
    else:
        labelled = usable_volumes(dataset, split.labeled_patients)
        volumes = [*labelled, *candidates]
        described = []
        with open_progress_bar(
            len(volumes), description="embed scans", unit="scan", delay_s=5.0
        ) as bar:
            for volume in volumes:
                rows = np.flatnonzero(dataset.volume_index == volume)
                images = take_own(dataset, rows)[0]
                described.append(describe_scan(embed, images, dataset.boxes[rows]))
                bar.update()
        chosen = choose_farthest(
            standardise(np.stack(described)),
            range(len(labelled)),
            range(len(labelled), len(volumes)),
            number=len(candidates),
        )
        far = [(volumes[index], distance) for index, distance in chosen]
        figures = [
            _plain_picture(dataset, volume, f"distance {x:.1f}", names)
            for volume, x in one_per_patient(far, dataset)[:_SHOWN]
        ]
        parts.append(f'<p class="note">{text(FARTHEST_RULE)}.</p>')
        parts.append(f'<div class="cases">{"".join(figures)}</div>')
    unsure = {each.volume: each for each in scans if each.volume in set(candidates)}
    order = sorted(unsure.values(), key=lambda x: -x.doubt)
    listed = one_per_patient([(x.volume, x.doubt) for x in order], dataset)[:_SHOWN]
    figures = [
        _doubted_picture(unsure[volume], dataset, f"doubt {x:.2f}", classes, names)
        for volume, x in listed
    ]
    parts += [
        "<h3>Least certain</h3>",
        '<p class="note">The unlabelled scans with the largest doubt, one per patient.'
        "</p>",
        f'<div class="cases">{"".join(figures)}</div>',
    ]
    if len(candidates) == _MOST_SCANS:
        many = (
            f"{_MOST_SCANS} scans, evenly spread over the unlabelled ones, took part."
        )
        parts.append(f'<p class="note">{many}</p>')
    return section("Which scan to label next", *parts)


def one_per_patient(
    ranked: Sequence[tuple[int, float]], dataset: Dataset
) -> list[tuple[int, float]]:
    """Keeps the first scan of each patient."""
    first: dict[str, tuple[int, float]] = {}
    for volume, value in ranked:
        first.setdefault(dataset.volumes[volume].patient, (volume, value))
    return list(first.values())


def class_legend(classes: Sequence[str]) -> str:
    """Names the colours of the outlines."""
    return legend([(class_color(i), x) for i, x in enumerate(classes) if i])


def _pictured(
    panel: Panel,
    label: np.ndarray | None,
    title: str,
    words: str,
    classes: Sequence[str],
) -> str:
    """A slice with outlines, and words below it."""
    address = slice_picture(panel, label, num_classes=len(classes))
    return captioned(address, title, words, alt=f"slice with outlines: {title}")


def _doubted_picture(
    each: Doubted, dataset: Dataset, words: str, classes: Sequence[str], names: Names
) -> str:
    """The most doubtful slice of a scan, as the network has segmented it."""
    panel = _panel(dataset, each.volume, each.slice_index)
    title = names.scan(dataset.volumes[each.volume])
    return _pictured(panel, each.label, title, words, classes)


def _plain_picture(dataset: Dataset, volume: int, words: str, names: Names) -> str:
    """The middle slice of a scan, without outlines."""
    rows = np.flatnonzero(dataset.volume_index == volume)
    place = int(dataset.slice_index[rows[len(rows) // 2]])
    panel = _panel(dataset, volume, place)
    return _pictured(panel, None, names.scan(dataset.volumes[volume]), words, ("BG",))


def _panel(dataset: Dataset, volume: int, place: int) -> Panel:
    record = dataset.volumes[volume]
    image, _ = read_own_grid(record, num_classes=1, with_label=False)
    box = field_of_view(record.grid(place))
    return Panel("", image[..., place], None, record.spacing_mm[:2], box)
