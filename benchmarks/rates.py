"""Compares ways to train on few labels, by validation patients.

python -m benchmarks.rates --folder runs/rates --root ACDC --root FetalHead [--draw 0]
python -m benchmarks.rates --folder runs/rates --root ACDC --only scratch,level
python -m benchmarks.rates --folder runs/rates --write

Each data set has one pretraining at size `small`. Ten patients take no part in any
training, and are scored at the last step in place of the test patients. A command that
was stopped goes on, and what has its scores is passed over. `--write` adds what is
finished to results/rates.csv, and writes the table of docs/results/notes.md.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.csv_file import keep_others, put_table, read_rows, write_rows

HERE = Path(__file__).resolve().parents[1]
TABLE = HERE / "results" / "rates.csv"
PAGE = HERE / "docs" / "results" / "notes.md"
MARK = "<!-- rates -->\n"
VALIDATION = {"ACDC": 2}
"""`data.validation_patients`, which counts patients of each pathology."""

ONE_GROUP = 10
"""The same where no pathology is known."""

_WARM_UP = "--config.finetune.warmup_share=0.05"
_BACKBONE = "--config.finetune.backbone_learning_rate"
_LEVEL = (
    f"{_BACKBONE}=3e-3",
    "--config.finetune.head_learning_rate=3e-3",
    _WARM_UP,
)
OF_FINETUNE = (
    "--config.finetune.unimatch.pretrained_learning_rate=0",
    "--config.finetune.unimatch.pretrained_warmup_share=0",
)
"""Flags by which UniMatch has the rates and the warm-up of `finetune`."""

_UNIMATCH = (
    *_LEVEL,
    *OF_FINETUNE,
    "--config.finetune.method=unimatch",
    "--config.finetune.unimatch.teacher=ema",
    "--config.finetune.num_steps=5000",
)
_SHARE = "--config.finetune.unimatch.cross_entropy_share"
_NETWORKS = ("--config.augment.intensity.convolution_probability=0.5",)
SETTINGS = {
    "scratch": ("from scratch, 3e-3", ()),
    "scratch_networks": ("from scratch, 3e-3, random networks", _NETWORKS),
    "default": ("backbone 1e-3, head 1e-2", ()),
    "networks": ("backbone 1e-3, head 1e-2, random networks", _NETWORKS),
    "tenth": ("backbone 3e-4, head 1e-2, warm-up 5 %", (f"{_BACKBONE}=3e-4", _WARM_UP)),
    "level": ("all rates 3e-3, warm-up 5 %", _LEVEL),
    "warm_up": ("backbone 1e-3, head 1e-2, warm-up 5 %", (_WARM_UP,)),
    "unimatch": (
        "UniMatch by Dice, all rates 3e-3, warm-up 5 %",
        (*_UNIMATCH, f"{_SHARE}=0"),
    ),
    "unimatch_cross_entropy": (
        "UniMatch by cross-entropy, all rates 3e-3, warm-up 5 %",
        (*_UNIMATCH, f"{_SHARE}=1"),
    ),
}
"""Title and flags of each setting, in the order of their turns.

Those that begin with "scratch" have no pretraining.
"""


class Trial(NamedTuple):
    """One fine-tuning.

    Attributes:
        set: Name of the data set's folder.
        num_labeled: Number of labelled patients.
        draw: Number of their draw.
        setting: A key of `SETTINGS`.
    """

    set: str
    num_labeled: str
    draw: str
    setting: str


def run(
    roots: Sequence[Path],
    folder: Path,
    *,
    num_labeled: int,
    draw: int,
    only: Sequence[str] = (),
) -> None:
    """Pretrains on each data set, and fine-tunes with each setting.

    Args:
        roots: The data sets' folders.
        folder: Where the runs go.
        num_labeled: Number of labelled patients.
        draw: Number of their draw.
        only: Keys of `SETTINGS`; none for all.
    """
    for root in roots:
        validation = VALIDATION.get(root.name, ONE_GROUP)
        shared = ["--config=configs/pix2rep.py:small", f"--config.data.root={root}"]
        shared += ["--config.data.crop=center"]
        shared += [f"--config.data.validation_patients={validation}"]
        start = folder / f"{root.name}-pretraining"
        call(*shared, f"--workdir={start}", "--mode=pretrain")
        for setting in only or SETTINGS:
            _, flags = SETTINGS[setting]
            trial = Trial(root.name, str(num_labeled), str(draw), setting)
            workdir = folder / "-".join(trial)
            origin = "none" if setting.startswith("scratch") else start
            drawn = f"--config.data.draw={draw}"
            finetune(
                workdir, *shared, *flags, drawn, num_labeled=num_labeled, start=origin
            )


def finetune(workdir: Path, *flags: str, num_labeled: int, start: Path | str) -> None:
    """Fine-tunes in a folder, unless that has its scores.

    Args:
        workdir: The folder.
        flags: Settings of the training, as main.py takes them.
        num_labeled: Number of labelled patients.
        start: The pretraining's folder, or "none".
    """
    if not (workdir / "finetune" / "evaluation.json").exists():
        call(
            *flags,
            f"--config.data.num_labeled={num_labeled}",
            f"--config.init.checkpoint={start}",
            f"--workdir={workdir}",
            "--mode=finetune",
        )


def call(*words: str) -> None:
    """Runs main.py; a mode that has ended says so, and changes nothing."""
    subprocess.run([sys.executable, "main.py", *words], cwd=HERE, check=True)


def list_scores(folder: Path) -> list[dict[str, str]]:
    """Lists the validation patients' scores in all trials that have ended."""
    lines = []
    for path in sorted(folder.glob("*/finetune/evaluation.json")):
        trial = Trial(*path.parents[1].name.split("-"))
        scores = json.loads(path.read_text())
        means = {key: scores[key]["mean_foreground"] for key in ("dice", "hd95_mm")}
        lines.append(trial._asdict() | {key: f"{x:.6f}" for key, x in means.items()})
    return lines


def table(lines: Sequence[dict[str, str]]) -> str:
    """Makes a table: a line for each setting, a column for each set and draw."""
    columns = sorted({(x["set"], int(x["num_labeled"]), x["draw"]) for x in lines})
    titles = [f"{name}, {number}, draw {draw}" for name, number, draw in columns]
    text = [f"| {' | '.join(['rates', *titles, 'mean'])} |"]
    text.append("|" + "---|" * (len(columns) + 2))
    scores = {
        (x["setting"], x["set"], int(x["num_labeled"]), x["draw"]): float(x["dice"])
        for x in lines
    }
    for setting, (title, _) in SETTINGS.items():
        found = [scores.get((setting, *column)) for column in columns]
        cells = ["" if x is None else f"{100 * x:.1f}" for x in found]
        known = [x for x in found if x is not None]
        if not known:
            continue
        complete = len(known) == len(found)
        mean = f"{100 * sum(known) / len(known):.1f}" if complete else ""
        text.append(f"| {' | '.join([title, *cells, mean])} |")
    return "\n".join(text) + "\n"


def publish(folder: Path) -> None:
    """Adds what has ended to the results, and writes the table into its page."""
    write_rows(TABLE, keep_others(TABLE, list_scores(folder), Trial._fields))
    put_table(PAGE, MARK, table(read_rows(TABLE)))


def main(argv: Sequence[str] | None = None) -> None:
    """Trains what is left, or publishes what there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--root", type=Path, action="append", default=[])
    parser.add_argument("--labeled", type=int, default=1)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--only", default="", help="such as scratch,level")
    parser.add_argument("--write", action="store_true")
    flags = parser.parse_args(argv)
    if flags.write:
        publish(flags.folder)
        return
    only = [each for each in flags.only.split(",") if each]
    if unknown := set(only) - set(SETTINGS):
        parser.error(f"--only has no {', '.join(unknown)}: {', '.join(SETTINGS)}")
    run(
        [each.resolve() for each in flags.root],
        flags.folder.resolve(),
        num_labeled=flags.labeled,
        draw=flags.draw,
        only=only,
    )


if __name__ == "__main__":
    main()
