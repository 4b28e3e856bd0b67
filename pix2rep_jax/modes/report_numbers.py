"""The parts of a report that are made of numbers alone: no scan is read for them."""

import math
from collections.abc import Mapping, Sequence

from pix2rep_jax.evaluation.gain import LEAST_PATIENTS, describe_gain
from pix2rep_jax.evaluation.paired_bootstrap import Difference
from pix2rep_jax.evaluation.patient_dice import CONFIDENCE, FOREGROUND, mean_dice
from pix2rep_jax.evaluation.volume_score import display_order
from pix2rep_jax.modes.report_names import Names
from pix2rep_jax.modes.reported_runs import (
    ReportedRun,
    duration,
    find_gain,
    other_settings,
)
from pix2rep_jax.page.charts import Reach, curves, reaches
from pix2rep_jax.page.document import code, legend, section, table, text, tiles
from pix2rep_jax.wording import count, inflect

__all__ = [
    "answer_part",
    "curve_part",
    "dice_part",
    "overview",
    "patient_part",
    "run_part",
]

_CURVES = (  # title, metric, whether it is the pretraining's
    ("Pretraining loss", "loss", True),
    ("Pixels found in the other view", "neighbour_rate", True),
    ("Segmentation loss", "loss", False),
    ("Validation Dice, foreground", "val_dice", False),
)

_ABOUT_FOUND = (
    "Two views of slices that do not pretrain are embedded. A pixel is found if its "
    "nearest neighbour in the other view lies within 2 px of its own place there. The "
    "share rises as the pretraining works."
)

_ABOUT_INTERVALS = (
    f"Intervals are {CONFIDENCE:.0%} intervals of a bootstrap over the test patients. "
    "They do not cover the choice of the labelled patients, nor of the seed."
)

_NO_INTERVALS = (
    f"Intervals need {LEAST_PATIENTS} test patients or more, so there are none here."
)

_FEW = 15
"""More patients than these are folded away behind a line."""


def answer_part(
    main: ReportedRun | None,
    baseline: ReportedRun | None,
    runs: Sequence[ReportedRun],
    *,
    command: str,
) -> str:
    """Says whether pretraining has helped.

    Args:
        main: The run that the report is about.
        baseline: What it is compared with.
        runs: All segmentation runs.
        command: The command that trains the baseline.
    """
    if main is None:
        return section("", "<p>Nothing has been fine-tuned yet.</p>", kind="answer")
    gain = None if baseline is None else find_gain(main, baseline, runs)
    if baseline is None or gain is None:
        why = "no patient with a mask was held out, so nothing was scored"
        lines = []
        if main.patients:
            why = "the same fine-tuning from random weights is not there"
            if baseline is not None:
                why = "the same fine-tuning from random weights has no scores yet"
            lines = ["<p>This command trains it beside the other:</p>", code(command)]
        elif len(main.record.split.test_volumes):
            why = "this network has no scores yet. The command that trains it goes on "
            why += "where it was stopped, and scores it at the end"
        if not main.is_pretrained:
            why, lines = "this network has not started from a pretraining", []
        said = f"<p>Whether pretraining has helped is not known: {why}.</p>"
        return section("", said, *lines, kind="answer")
    labeled = len(main.record.split.labeled_patients)
    said = describe_gain(gain, num_labeled=labeled)
    differing = other_settings(main, baseline)
    if differing:
        said += ". The two differ in more than their start, so other settings count too"
    about = (
        "Points of Dice on the scans' own grids: the pretrained network minus the one "
        f"from random weights, on the same {count(gain.num_patients, 'test patient')}"
    )
    if gain.num_runs > 1:
        about += f", over {gain.num_runs} pairs of runs (draws and seeds)"
    rows = [_gain_row("foreground", gain, color=5)]
    for name in display_order(main.config["data"]["classes"])[:-1]:
        if (own := find_gain(main, baseline, runs, name=name)) is not None:
            rows.append(_gain_row(name, own, color=0))
    parts = [f"<p>{text(said)}.</p>", f'<p class="note">{text(about)}.</p>']
    unit = "points gained by pretraining"
    parts.append(reaches("Gain by class", rows, low=-1, high=1, unit=unit))
    parts.append(f'<p class="note">{text(_about_intervals(gain.num_patients))}</p>')
    if differing:
        listed = text("; ".join(differing))
        parts.append(f'<p class="note">Other settings that differ: {listed}.</p>')
    return section("", *parts, kind="answer")


def _about_intervals(num_patients: int) -> str:
    return _NO_INTERVALS if num_patients < LEAST_PATIENTS else _ABOUT_INTERVALS


def _gain_row(name: str, gain: Difference, *, color: int) -> Reach:
    mean, low, high = (100 * x for x in gain[:3])
    if gain.num_patients < LEAST_PATIENTS:
        return Reach(name, mean, math.nan, math.nan, color, f"{mean:+.1f}")
    shown = f"{mean:+.1f}  ({low:+.1f} to {high:+.1f})"
    return Reach(name, mean, low, high, color, shown)


def overview(main: ReportedRun) -> str:
    """Makes the large numbers at the top."""
    split = main.record.split
    unlabelled = [x for x in split.pretrain_patients if x not in split.labeled_patients]
    counted = (
        (split.labeled_patients, "labelled patient", ""),
        (unlabelled, "patient", " used without masks"),
        (split.test_patients, "test patient", ""),
    )
    facts = [
        (f"{len(each):,}", inflect(len(each), noun) + more)
        for each, noun, more in counted
    ]
    if main.patients:
        mean = mean_dice(main.patients, FOREGROUND).mean
        facts.append((f"{100 * mean:.1f} %", f"foreground Dice, {main.title}"))
    return tiles(facts)


def dice_part(runs: Sequence[ReportedRun]) -> str:
    """Shows Dice by class, with intervals, for each run that was scored."""
    scored = [run for run in runs if run.patients]
    if not scored:
        return ""
    order = display_order(scored[0].config["data"]["classes"])[:-1]
    columns = {**{name: name for name in order}, FOREGROUND: "foreground"}
    rows: list[Reach] = []
    for name, shown in columns.items():
        for index, run in enumerate(scored):
            if not any(name in own for own in run.patients.values()):
                continue
            mean, low, high = (100 * x for x in mean_dice(run.patients, name))
            if len(run.patients) < LEAST_PATIENTS:
                low = high = math.nan
            words = "-" if math.isnan(mean) else f"{mean:.1f}"
            if not math.isnan(low):
                words += f"  ({low:.1f} to {high:.1f})"
            rows.append(Reach(shown, mean, low, high, index, words))
    least = min((x for row in rows for x in row[1:3] if not math.isnan(x)), default=0)
    return section(
        "Dice by class",
        legend([(f"c{i}", run.title) for i, run in enumerate(scored)]),
        reaches("Dice by class", rows, low=max(0, least - 5), high=100, unit="Dice, %"),
        '<p class="note">Means over patients, of 3D Dice on the scans\' own grids. '
        f"{text(_about_intervals(max(len(run.patients) for run in scored)))}</p>",
    )


def patient_part(
    main: ReportedRun, baseline: ReportedRun | None, *, names: Names
) -> str:
    """Lists the test patients, the worst first."""
    if not main.patients:
        return ""
    order = display_order(main.config["data"]["classes"])[:-1]
    has_both = baseline is not None and bool(baseline.patients)
    header = ["patient", *order, "foreground"]
    header += ["random weights", "gained"] if has_both else []
    rows = []
    for patient, own in sorted(main.patients.items(), key=_by_dice):
        cells = [text(names.patient(patient))]
        cells += [_percent(own.get(name, math.nan)) for name in order]
        cells.append(f"<b>{_percent(own[FOREGROUND])}</b>")
        if baseline is not None and has_both:
            other = baseline.patients.get(patient, {}).get(FOREGROUND, math.nan)
            difference = round(100 * (own[FOREGROUND] - other), 1) + 0.0  # never -0.0
            known = not math.isnan(difference)
            cells += [_percent(other), f"{difference:+.1f}" if known else "-"]
        rows.append(cells)
    numbers = range(1, len(header))
    parts = [table(header, rows[:_FEW], numbers=numbers)]
    if len(rows) > _FEW:
        rest = table(header, rows[_FEW:], numbers=numbers)
        summary = f"<summary>{count(len(rows) - _FEW, 'more patient')}</summary>"
        parts.append(f"<details>{summary}{rest}</details>")
    title = f"Test patients, the worst first ({main.title}; Dice in %)"
    return section(title, *parts, kind="long")


def _by_dice(entry: tuple[str, Mapping[str, float]]) -> tuple[float, str]:
    dice = entry[1][FOREGROUND]
    return (math.inf if math.isnan(dice) else dice), entry[0]


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def curve_part(pretraining: ReportedRun | None, runs: Sequence[ReportedRun]) -> str:
    """Draws what the runs have logged."""
    charts = []
    for title, metric, is_pretraining in _CURVES:
        shown = [pretraining] if is_pretraining else list(runs)
        series = {
            run.title: (*run.series[metric], 2 if is_pretraining else index)
            for index, run in enumerate(shown)
            if run is not None and run.series.get(metric, ([], []))[0]
        }
        if series:
            figure = f"<figcaption><b>{text(title)}</b></figcaption>"
            charts.append(f"<figure>{figure}{curves(title, series)}</figure>")
    if not charts:
        return ""
    names = [(f"c{i}", run.title) for i, run in enumerate(runs)]
    names += [("c2", pretraining.title)] if pretraining is not None else []
    joined = f'<div class="charts">{"".join(charts)}</div>'
    watched = pretraining.series.get("neighbour_rate") if pretraining else None
    about = (
        f'<p class="note">{text(_ABOUT_FOUND)}</p>' if watched and watched[0] else ""
    )
    return section("Training", legend(names), joined, about)


def run_part(
    pretraining: ReportedRun | None, runs: Sequence[ReportedRun], *, names: Names
) -> str:
    """Says what was trained on what: one column per run."""
    shown = [run for run in (pretraining, *runs) if run is not None]
    facts = [_facts(run, names) for run in shown]
    order = max(facts, key=len)  # a segmenter's, if there is one
    listed = dict.fromkeys([*order, *(name for own in facts for name in own)])
    rows = [[text(x), *(text(own.get(x, "")) for own in facts)] for x in listed]
    header = ["", *(run.title for run in shown)]
    return section("What was trained on what", table(header, rows), kind="long")


def _facts(run: ReportedRun, names: Names) -> dict[str, str]:
    """Collects what is to be known of a run, by what it is called."""
    config, record, split = run.config, run.record, run.record.split
    data, numerics = config["data"], record.environment.get("numerics", {})
    recipe = config.get(run.folder.name, {})
    method = recipe.get("method", "linear layer")
    channels = ", ".join(map(str, config["model"]["channels"]))
    spacing = f"{data['spacing_mm']:g} mm" if data["spacing_mm"] != "auto" else "auto"
    found = {
        "method": str(method),
        "size": str(config.get("variant", "")),
        "scans": data["name"] if names.hidden else data["root"] or data["name"],
        "slices as seen": f"{data['size']} x {data['size']} px of {spacing}, crop "
        f"{data['crop']}, intensities by {data['normalization']}",
        "U-Net channels": channels,
        "patients that pretrain": str(len(split.pretrain_patients)),
    }
    if run.folder.name != "pretrain":
        listed = ", ".join(map(names.patient, split.labeled_patients))
        found |= {
            "labelled patients": f"{len(split.labeled_patients)}: {listed}",
            "slices that train": str(len(split.train_slices)),
            "test patients": str(len(split.test_patients)),
            "started from": "random weights",
        }
        if record.origin is not None:
            found["started from"] = (
                f"{names.folder(record.origin.run)}, step {record.origin.step}, digest "
                f"{record.origin.digest}"
            )
    took = duration(run)
    found["steps"] = f"{record.num_steps:,}" + (f" (about {took})" if took else "")
    if 0 < run.newest_step < record.num_steps:
        found["steps"] += f"; only {run.newest_step:,} are done yet"
    if run.scored_step:
        found["step that was scored"] = f"{run.scored_step:,}"
    found["draw, seed"] = f"{run.key[0]}, {run.key[1]}"
    devices = "unknown devices"
    if "devices" in numerics:
        devices = count(numerics["devices"], f"{numerics.get('device', '?')} device")
    found["hardware"] = f"{devices}, {numerics.get('cpu', 'unknown processor')}"
    versions = {
        "pix2rep-jax": record.environment.get("pix2rep_jax", "?"),
        "jax": numerics.get("jax", "?"),
        "Python": record.environment.get("python", "?"),
    }
    found["versions"] = ", ".join(f"{name} {x}" for name, x in versions.items())
    found["folder"] = names.folder(run.folder)
    return found
