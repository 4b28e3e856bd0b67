"""--mode evaluate: Dice and distances of the test patients, as every run reports."""

import sys
from pathlib import Path

from ml_collections import ConfigDict

from pix2rep_jax.data.checks import check_masks, reading_notes
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.evaluation.score_run import score_run
from pix2rep_jax.inference.segmenter import load_predictors
from pix2rep_jax.runs.checkpoint_reader import result_step, unfinished
from pix2rep_jax.runs.data_checks import (
    check_same_channels,
    check_unseen,
    expected_slice_axis,
    match_classes,
    select_usable,
)
from pix2rep_jax.runs.manifest import check_place, make_folder, read_config
from pix2rep_jax.runs.plan_file import take_recorded
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.runs.start import find_segmenters

__all__ = ["run"]


def run(config: ConfigDict, workdir: Path) -> None:
    """Scores the networks of a workdir, or of `init.checkpoint`, on the test patients.

    Writes `<workdir>/evaluate/MODE/` for each of finetune and probe that ran, and the
    files of the first of them in `<workdir>/evaluate` too. A network that was trained
    with other settings of the data is left out, with a note. `data.name` and
    `data.root` may name other scans than the network was trained on.

    Args:
        config: The whole configuration; `data` and `init.checkpoint` are read.
        workdir: The run's folder.

    Raises:
        InputError: If there is no network, if all expect other data, if one was
            trained on a test patient, or if no test patient has a mask.
    """
    workdir = Path(workdir)
    check_place(workdir)
    found = find_segmenters(workdir, checkpoint=config.init.checkpoint)
    recorded_configs = {folder: read_config(folder) for folder in found}
    own = take_recorded(config.data, recorded_configs[found[0]]["data"])
    configs, left_out = select_usable(own, recorded_configs)
    for note in left_out:
        print(note, file=sys.stderr)
    runs = list(configs)
    data, classes = match_classes(own, configs)
    recorded = read_run(runs[0]).slice_axis
    expected = expected_slice_axis(data, configs[runs[0]], recorded)
    dataset = load_dataset(data, expected=expected)
    for note in reading_notes(dataset.volumes):
        print(note, file=sys.stderr)
    check_masks((*dataset.volumes, *dataset.excluded), data)
    split = make_split(dataset, data, draw_labeled=False)
    for folder in runs:
        record = read_run(folder)
        channels = record.inputs.channels
        check_same_channels(dataset.images.shape[-1], channels, folder)
        check_unseen(split, record.split, folder)
        if note := unfinished(folder):
            print(note, file=sys.stderr)
    labelled = [each for each in dataset.volumes if each.label_path is not None]
    print(
        f"scoring {len(split.test_volumes)} test volumes of the {len(labelled)} that "
        "have a mask (data.holdout_per_group says how many patients are held out)"
    )
    output = workdir / "evaluate"
    for folder in reversed(runs):  # the preferred one comes last, under the eyes
        folders = [output / folder.name, *([output] if folder == runs[0] else [])]
        for target in folders:
            make_folder(target)
        table = score_run(
            load_predictors(folder),
            dataset,
            split.test_volumes,
            folders=folders,
            classes=classes,
            uses_ground_truth=config.data.crop == "mask_box",
            details={
                "mode": folder.name,
                "run": str(folder),
                "best_step": result_step(folder),
                "data": config.data.root or config.data.name,
                "test_patients": list(split.test_patients),
            },
        )
        print(f"{folder.name}: {table}\n")
    print(f"the results are in {output}")
