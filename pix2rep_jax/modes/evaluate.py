"""--mode evaluate: Dice and distances of the test patients, as every run reports."""

import contextlib
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.checks import check_masks, empty_slices, reading_notes
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.score_run import score_run
from pix2rep_jax.inference.ensemble import average_networks, check_same_task
from pix2rep_jax.inference.load_networks import load_predict, load_predictors
from pix2rep_jax.inference.postprocess import (
    choose_components,
    keep_largest,
    read_options,
    shared_pieces,
)
from pix2rep_jax.inference.scan_format import check_formats
from pix2rep_jax.runs.checkpoint_steps import unfinished
from pix2rep_jax.runs.data_checks import (
    check_same_channels,
    check_same_images,
    check_unseen,
    expected_slice_axis,
    is_same_data,
    match_classes,
    select_usable,
)
from pix2rep_jax.runs.kept_checkpoint import (
    describe_networks,
    kept_checkpoint,
    kept_step,
)
from pix2rep_jax.runs.manifest import check_place, make_folder, read_config
from pix2rep_jax.runs.moved_scans import remember_root
from pix2rep_jax.runs.plan_file import take_recorded
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.start import find_ensemble, find_folds, find_segmenters
from pix2rep_jax.wording import count, for_caller

__all__ = ["run"]


def run(config: ConfigDict, workdir: Path, *, others: Sequence[Path] = ()) -> None:
    """Scores the networks of a workdir, or of `init.checkpoint`, on the test patients.

    Writes `<workdir>/evaluate/MODE/` for each of finetune and probe that ran, and the
    files of the first of them in `<workdir>/evaluate` too. A network that was trained
    with other settings of the data is left out, with a note. `data.name` and
    `data.root` may name other scans than the network was trained on.

    Several workdirs, or that of a cross-validation, are scored as one: the mean of
    their probabilities, in `<workdir>/evaluate/ensemble/` of the first.

    Args:
        config: The whole configuration; `data`, `predict`, `init.checkpoint` and
            `segmentation.keep` are read.
        workdir: The run's folder.
        others: Further workdirs of an ensemble.

    Raises:
        InputError: If there is no network, if all expect other data, if one was
            trained on a test patient, or if no test patient has a mask.
    """
    workdir = Path(workdir)
    check_place(workdir)
    found = find_ensemble([workdir, *others], checkpoint=config.init.checkpoint)
    is_ensemble = len(found) > 1
    if not is_ensemble:  # then the probe is scored too
        with contextlib.suppress(InputError):  # a single fold
            found = find_segmenters(workdir, checkpoint=config.init.checkpoint)
    recorded_configs: dict[Path, Mapping[str, Any]] = {
        folder: read_config(folder) for folder in found
    }
    own = take_recorded(config, recorded_configs[found[0]]).data
    if is_ensemble:
        _check_ensemble(own, recorded_configs, workdir)
        select_usable(own, {found[0]: recorded_configs[found[0]]})
        configs = recorded_configs
    else:
        configs, left_out = select_usable(own, recorded_configs)
        for note in left_out:
            print(for_caller(note), file=sys.stderr)
    runs = list(configs)
    data, classes = match_classes(own, configs)
    records = {folder: read_run(folder) for folder in runs}
    axis = records[runs[0]].slice_axis
    expected = expected_slice_axis(data, configs[runs[0]], axis)
    dataset = load_dataset(data, expected=expected)
    for note in (*reading_notes(dataset.volumes), empty_slices(dataset.volumes)):
        if note:
            print(for_caller(note), file=sys.stderr)
    check_masks((*dataset.volumes, *dataset.excluded), data)
    remember_root(data, workdir, dataset)
    split = make_split(dataset, data, draw_labeled=False)
    for folder, record in records.items():
        channels = record.inputs.channels
        check_same_channels(dataset.images.shape[-1], channels, folder)
        for note in check_formats(dataset.volumes, record.inputs):
            print(for_caller(note), file=sys.stderr)
        check_unseen(split, record.split, folder)
        if note := unfinished(folder, record.num_steps):
            print(for_caller(note), file=sys.stderr)
    labelled = [each for each in dataset.volumes if each.label_path is not None]
    print(
        f"scoring {count(len(split.test_volumes), 'test volume')} of "
        f"{count(len(labelled), 'volume')} with a mask (data.holdout_per_group says "
        "how many patients are held out)"
    )
    output = workdir / "evaluate"
    options, keep = read_options(config), config.segmentation.keep
    mirror, wanted = options["mirror"], options["largest_component"]
    groups = {"ensemble": runs} if is_ensemble else {x.name: [x] for x in runs}
    for name, group in reversed(groups.items()):  # the preferred one comes last
        print(describe_networks(group, keep))
        first = name == next(iter(groups)) and not is_ensemble
        folders = [output / name, *([output] if first else [])]
        for target in folders:
            make_folder(target)
        chosen = [
            choose_components({**configs[x], "data": data}, records[x], wanted)
            for x in group
        ]
        pieces = shared_pieces(chosen)
        if kept := pieces.describe(classes):
            print(f"{name}: only {kept} is scored")
        if is_ensemble:
            networks = [load_predict(each, mirror=mirror, keep=keep) for each in group]
            predictors = {name: average_networks(networks)}
        else:
            predictors = load_predictors(group[0], mirror=mirror, keep=keep)
        table = score_run(
            predictors,
            dataset,
            split.test_volumes,
            folders=folders,
            classes=classes,
            uses_ground_truth=data.crop == "mask_box",
            details={
                "mode": name,
                **_describe(group, keep),
                "predict": options,
                "largest_component_of": [classes[each] for each in pieces.classes],
                "largest_component_foreground": pieces.foreground,
                "data": config.data.root or config.data.name,
                "test_patients": list(split.test_patients),
            },
            finish=functools.partial(keep_largest, pieces=pieces),
        )
        print(f"{name}: {table}\n")
    print(f"the results are in {output / 'ensemble' if is_ensemble else output}")


def _check_ensemble(
    data: ConfigDict, configs: Mapping[Path, Mapping[str, Any]], workdir: Path
) -> None:
    """Raises InputError if networks cannot be scored together on these scans."""
    check_same_task(configs, {run: read_run(run) for run in configs})
    first, *others = configs
    for run in others:
        check_same_images(configs[first], configs[run], (first, run))
    if first.parent in find_folds(workdir) and is_same_data(
        data, configs[first]["data"]
    ):
        raise InputError(
            f"the networks in {workdir} are those of a cross-validation, and each test "
            "patient of one has trained the others: their scores are in "
            f"{workdir / 'evaluate'}, or name other scans by --config.data.root"
        )


def _describe(runs: Sequence[Path], keep: str) -> dict[str, Any]:
    """Says for evaluation.json which networks were scored."""
    if len(runs) == 1:
        (run,) = runs
        kept, step = kept_checkpoint(run, keep), kept_step(run, keep)
        return {"run": str(run), "kept": kept, "scored_step": step}
    return {
        "runs": {str(run): kept_step(run, keep) for run in runs},
        "kept": {str(run): kept_checkpoint(run, keep) for run in runs},
    }
