"""Trains and scores in the split that few-label papers of ACDC share (data.split).

python -m benchmarks.ssl4mis --folder runs/ssl4mis --root ACDC [--labeled 1] [--only R]
python -m benchmarks.ssl4mis --folder runs/ssl4mis --root ACDC --only R --variant V
python -m benchmarks.ssl4mis --folder runs/ssl4mis --write

Each row is a training by main.py at size `small`, in a centred crop, with everything
that is not named here by default. A variant changes some of it, and `short+ema` joins
two. A command that was stopped goes on, and what has its scores is passed over. A row
without pretraining needs no other; the others share one pretraining of each kind.

`--write` publishes what is finished, and keeps the published rows that the folder does
not have:
results/ssl4mis.csv has the scores of the last step, as it is and with the largest piece
of each class alone, and of the best step by validation patients.
results/ssl4mis_course.csv has the validation Dice against steps, and
docs/pictures/ssl4mis.png draws it. The table goes into docs/results/ssl4mis.md.
"""

import argparse
import itertools
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.csv_file import keep_others, put_table, read_rows, write_rows
from benchmarks.rates import OF_FINETUNE, SETTINGS, call, finetune
from pix2rep_jax.runs.metric_log import read_metrics
from pix2rep_jax.wording import count

HERE = Path(__file__).resolve().parents[1]
SCORES, COURSE = "ssl4mis.csv", "ssl4mis_course.csv"
PAGE = HERE / "docs" / "results" / "ssl4mis.md"
MARK = "<!-- ssl4mis -->\n"
STARTS = {
    "none": "from scratch",
    "pix2rep": "Pix2Rep",
    "v2": "Pix2Rep-v2",
    "mae": "masked images",
}
TITLES = {
    "supervised": "supervised",
    "unimatch": "UniMatch",
    "mean_teacher": "Mean Teacher",
}
PRETRAININGS = {
    "none": (),
    "pix2rep": (),
    "v2": (
        "--config.pretrain.loss=cross_correlation",
        "--config.pretrain.num_points=all",
    ),
    "mae": ("--config.pretrain.method=mae",),
}
"""Flags of each pretraining."""

METHODS = {
    "supervised": (),
    "unimatch": (
        "--config.finetune.num_steps=15000",
        "--config.finetune.unimatch.teacher=self",
        "--config.finetune.unimatch.cross_entropy_share=0",
        *OF_FINETUNE,
        "--config.log.validate_every=500",
    ),
    "mean_teacher": (),
}
"""Flags of each `finetune.method`."""

_DATA = "--config.data."


def _crop(spacing_mm: float, *, size: int) -> tuple[str, tuple[str, ...]]:
    """Makes the title and the flags of a centred crop; `size` counts its pixels."""
    flags = ("crop=center", f"spacing_mm={spacing_mm:g}", f"size={size}")
    title = f"crop of {spacing_mm * size:g} mm, {spacing_mm:g} mm"
    return title, tuple(f"{_DATA}{flag}" for flag in flags)


VARIANTS = {
    "default": ("by default", ()),
    **{name: SETTINGS[name] for name in ("tenth", "level", "warm_up")},
    "long": ("15,000 steps", ("--config.finetune.num_steps=15000",)),
    "short": ("5,000 steps", ("--config.finetune.num_steps=5000",)),
    "ema": ("an average teaches", ("--config.finetune.unimatch.teacher=ema",)),
    "terms": (
        "with both terms of features",
        tuple(
            f"--config.finetune.unimatch.{name}_weight=1"
            for name in ("affinity", "prototype")
        ),
    ),
    "cross_entropy": (
        "cross-entropy teaches",
        ("--config.finetune.unimatch.cross_entropy_share=1",),
    ),
    "paste": (
        "labelled slices pasted into half of the boxes",
        ("--config.finetune.unimatch.paste_probability=0.5",),
    ),
    "networks": ("random networks for labelled slices", SETTINGS["networks"][1]),
    "all_networks": (
        "random networks for all slices",
        (
            *SETTINGS["networks"][1],
            "--config.finetune.unimatch.intensity.convolution_probability=0.5",
        ),
    ),
    "whole": (
        "whole slices, 3.4 mm",
        (f"{_DATA}crop=whole", f"{_DATA}spacing_mm=3.41"),
    ),
    "middle": ("middle of 200 mm", (f"{_DATA}crop=middle",)),
    "fine": _crop(2, size=96),
    "coarse": _crop(3, size=64),
    "larger": _crop(2.5, size=80),
    "deep": (
        "16 to 256 channels",
        ("--config.model.channels=16,32,64,128,256",),
    ),
}
"""Title and flags of each set of changes that was tried; they win over a method's."""

OTHER_PIXELS = ("whole", "middle", "fine", "coarse", "larger")
"""Variants whose networks see other pixels than those of the plan."""

OTHER_START = (*OTHER_PIXELS, "deep")
"""Variants with a pretraining of their own: other pixels, or another network."""

LINES = ("-", "--", ":", "-.", (0, (1, 3)), (0, (9, 3)), (0, (6, 2, 1, 2, 1, 2)))
"""Styles of the lines of one start in a panel."""

CLASSES = ("RV", "MYO", "LV")

KEPT = ("last", "largest", "best")
"""Last step, its largest pieces alone, and the best step by validation patients."""


class Row(NamedTuple):
    """One training.

    Attributes:
        pretraining: A key of `PRETRAININGS`.
        method: A key of `METHODS`.
        num_labeled: Number of labelled patients: 1, 3, 7, or all 70.
        seed: Decides the first weights and all that is drawn.
        variant: Keys of `VARIANTS` with "+" between them.
    """

    pretraining: str
    method: str
    num_labeled: str
    seed: str
    variant: str = "default"


ORDER = (
    ("pix2rep", "unimatch"),
    ("none", "unimatch"),
    ("pix2rep", "supervised"),
    ("none", "supervised"),
    ("v2", "unimatch"),
    ("mae", "unimatch"),
    ("pix2rep", "mean_teacher"),
    ("none", "mean_teacher"),
    ("v2", "supervised"),
    ("mae", "supervised"),
)
"""Pretraining and method of the rows, in the order of their turns."""


def run(
    root: Path,
    folder: Path,
    *,
    num_labeled: int,
    seed: int,
    only: Sequence[str],
    variant: str = "default",
) -> None:
    """Trains and scores what is left.

    Args:
        root: ACDC's folder.
        folder: Where the runs go.
        num_labeled: Number of labelled patients.
        seed: That of all rows.
        only: Rows such as "pix2rep-unimatch"; none for all.
        variant: Keys of `VARIANTS` with "+" between them.
    """
    shared = ("--config=configs/pix2rep.py:small", f"--config.data.root={root}")
    shared += ("--config.data.split=ssl4mis", f"--config.seed={seed}")
    for pretraining, method in ORDER:
        if only and f"{pretraining}-{method}" not in only:
            continue
        parts = variant.split("+")
        start = "none"
        if pretraining != "none":
            own_parts = [part for part in parts if part in OTHER_START]
            name = [pretraining, "pretraining", str(seed), *own_parts]
            start = str(folder / "-".join(name))
            flags = _settle(PRETRAININGS[pretraining], own_parts)
            call(*shared, *flags, f"--workdir={start}", "--mode=pretrain")
        row = Row(pretraining, method, str(num_labeled), str(seed), variant)
        workdir = folder / "-".join(row)
        flags = _settle(METHODS[method], parts)
        name = f"--config.finetune.method={method}"
        finetune(workdir, *shared, *flags, name, num_labeled=num_labeled, start=start)
        if not (workdir / "evaluate" / "evaluation.json").exists():
            largest = "--config.predict.largest_component=foreground"
            call(f"--workdir={workdir}", largest, "--mode=evaluate")


def _settle(own: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Lists flags, each once: a variant's win over a method's, and over the crop."""
    changes = [f"{_DATA}crop=center", *own]
    changes += [flag for part in parts for flag in VARIANTS[part][1]]
    return [*{change.partition("=")[0]: change for change in changes}.values()]


def read_finished(folder: Path) -> Iterator[tuple[Row, Path]]:
    """Finds the rows that have scores, in the order of their names."""
    for path in sorted(folder.glob("*/finetune/evaluation.json")):
        yield Row(*path.parents[1].name.split("-")), path.parent


def list_scores(folder: Path) -> list[dict[str, str]]:
    """Lists the scores of all rows: `KEPT` of each."""
    lines = []
    for row, place in read_finished(folder):
        scored = json.loads((place / "evaluation.json").read_text())
        largest = place.parent / "evaluate" / "evaluation.json"
        found = {"last": scored, "largest": json.loads(largest.read_text())}
        # The best step may be the last one.
        found["best"] = scored.get("best", scored)
        for kept in KEPT:
            scores = found[kept]
            step = scored.get(f"{kept}_step", scored["scored_step"])
            line = {**row._asdict(), "kept": kept, "step": str(step)}
            for key in ("dice", "hd95_mm"):
                for part in (*CLASSES, "mean_foreground"):
                    line[f"{key}_{part}"] = f"{scores[key][part]:.6f}"
            lines.append(line)
    return lines


def list_course(folder: Path) -> list[dict[str, str]]:
    """Lists the validation Dice of all rows, step by step."""
    lines = []
    for row, place in read_finished(folder):
        steps, values = read_metrics(place / "metrics.jsonl")["val_dice"]
        lines += [
            {**row._asdict(), "step": str(int(step)), "val_dice": f"{value:.6f}"}
            for step, value in zip(steps, values, strict=True)
        ]
    return lines


def draw_course(table: Path, path: Path) -> None:
    """Draws the validation Dice against steps.

    There is a panel for each number of patients and each view of their slices, and a
    colour for each start. A row that has nothing beside it is left out, unless all are.
    """
    courses: dict[Row, list[tuple[int, float]]] = {}
    for line in read_rows(table):
        point = int(line["step"]), 100 * float(line["val_dice"])
        courses.setdefault(_row(line), []).append(point)
    panels: dict[tuple[int, str], list[Row]] = {}
    for row in courses:
        panels.setdefault((int(row.num_labeled), _view(row)), []).append(row)
    panels = {name: rows for name, rows in panels.items() if len(rows) > 1} or panels
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 7.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis, (number, view) in zip(grid.flat, sorted(panels), strict=False):
        seen = VARIANTS[view][0] if view else "crop of 160 mm, 2.5 mm"
        axis.set_title(f"{count(number, 'patient')} with masks, {seen}", fontsize=9)
        _draw_panel(axis, {row: courses[row] for row in panels[number, view]})
    for axis in grid.flat[len(panels) :]:
        axis.set_axis_off()
    grid[0, 0].set_ylim(bottom=60)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_panel(axis: Axes, courses: Mapping[Row, Sequence[tuple[int, float]]]) -> None:
    """Draws rows that see the same pixels, and their legend below."""
    styles: dict[str, Iterator[Any]] = {}
    for row, course in courses.items():
        style = styles.setdefault(row.pretraining, itertools.cycle(LINES))
        title = f"{TITLES[row.method]}, {STARTS[row.pretraining]}"
        changes = settings_of(row, without=OTHER_PIXELS)
        axis.plot(
            *zip(*course, strict=True),
            linestyle=next(style),
            color=f"C{list(STARTS).index(row.pretraining)}",
            label=textwrap.fill(f"{title}: {changes}" if changes else title, 46),
        )
    axis.locator_params("x", nbins=6)
    axis.set_xlabel("steps")
    axis.set_ylabel("Dice of 10 validation patients, %")
    axis.spines[["top", "right"]].set_visible(False)
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)}
    axis.legend(frameon=False, fontsize=7, **place)


def _view(row: Row) -> str:
    """Finds what a row's network sees: one of `OTHER_PIXELS`, or "" for the plan's."""
    return next((x for x in row.variant.split("+") if x in OTHER_PIXELS), "")


def settings_of(row: Row, *, without: Sequence[str] = ()) -> str:
    """Says by what a row differs from the defaults, but for some of it."""
    parts = (part for part in row.variant.split("+") if part not in without)
    return "; ".join(VARIANTS[part][0] for part in parts)


def table(lines: Sequence[dict[str, str]]) -> str:
    """Makes the table: a line for each row.

    Args:
        lines: As of `list_scores`.
    """
    titles = ["labelled", "start", "method", "settings", *CLASSES, "Dice", "HD95, mm"]
    titles += ["largest pieces: Dice", "HD95, mm", "best step: Dice"]
    scores = {(_row(line), line["kept"]): line for line in lines}
    rows = sorted({row for row, _ in scores}, key=lambda x: (int(x.num_labeled), x))
    text = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in rows:
        last, largest, best = (scores[row, kept] for kept in KEPT)
        cells = [row.num_labeled, STARTS[row.pretraining], TITLES[row.method]]
        cells += [settings_of(row)]
        cells += [_percent(last, part) for part in (*CLASSES, "mean_foreground")]
        cells += [_hd95(last), _percent(largest), _hd95(largest), _percent(best)]
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def _percent(line: dict[str, str], part: str = "mean_foreground") -> str:
    return f"{100 * float(line[f'dice_{part}']):.1f}"


def _hd95(line: dict[str, str]) -> str:
    return f"{float(line['hd95_mm_mean_foreground']):.1f}"


def _row(line: dict[str, str]) -> Row:
    return Row(*(line[name] for name in Row._fields))


def publish(folder: Path) -> None:
    """Writes the tables, the page and the picture of what is finished."""
    scores, course = HERE / "results" / SCORES, HERE / "results" / COURSE
    write_rows(scores, keep_others(scores, list_scores(folder), Row._fields))
    write_rows(course, keep_others(course, list_course(folder), Row._fields))
    draw_course(course, HERE / "docs" / "pictures" / "ssl4mis.png")
    lines = read_rows(scores)
    put_table(PAGE, MARK, table(lines))


def main(argv: Sequence[str] | None = None) -> None:
    """Trains what is left, or publishes what there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--root", type=Path, help="ACDC's folder")
    parser.add_argument("--labeled", type=int, default=1, choices=(1, 3, 7, 70))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="such as pix2rep-unimatch")
    parser.add_argument("--variant", default="default", help="such as short+ema")
    parser.add_argument("--write", action="store_true")
    flags = parser.parse_args(argv)
    if flags.write:
        publish(flags.folder)
        return
    if unknown := set(flags.variant.split("+")) - set(VARIANTS):
        parser.error(f"--variant has no {', '.join(unknown)}: {', '.join(VARIANTS)}")
    run(
        flags.root.resolve(),
        flags.folder.resolve(),
        num_labeled=flags.labeled,
        seed=flags.seed,
        only=[each for each in flags.only.split(",") if each],
        variant=flags.variant,
    )


if __name__ == "__main__":
    main()
