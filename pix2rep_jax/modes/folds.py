"""--mode folds: a cross-validation, in which every patient with a mask is tested."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.report import write_evaluation
from pix2rep_jax.evaluation.score_volumes import evaluate_networks
from pix2rep_jax.evaluation.volume_score import VolumeScore
from pix2rep_jax.inference.load_networks import load_predictors
from pix2rep_jax.modes import finetune, pretrain
from pix2rep_jax.runs.manifest import check_place, make_folder, read_config
from pix2rep_jax.runs.plan_file import take_recorded
from pix2rep_jax.runtime.command_line import next_step

__all__ = ["run"]


def run(config: ConfigDict, workdir: Path, *, command: Sequence[str] = ()) -> None:
    """Trains one network per fold, and scores each on the patients of its fold.

    Fold k is pretrained and fine-tuned in `<workdir>/foldk`, without the patients that
    it is tested on. If `init.checkpoint` is set, there is no pretraining. Training goes
    on where it was stopped. The scores of all patients are written to
    `<workdir>/evaluate`.

    Args:
        config: The whole configuration; `data.folds` is the number of folds.
        workdir: The folder of all folds.
        command: The words of the command line, program first.

    Raises:
        InputError: If there are fewer than two folds, if `data.labeled` names
            patients, or as the modes.
    """
    folds, classes = config.data.folds, tuple(config.data.classes)
    if folds < 2:
        raise InputError(
            f"data.folds is {folds}: say in how many parts the patients are divided, "
            "such as --config.data.folds=5"
        )
    if config.data.labeled:
        raise InputError(
            "data.labeled names the labelled patients, and each patient is tested in "
            "one of the folds: leave it out (--config.data.labeled= empties it); "
            "--config.data.num_labeled says how many train"
        )
    check_place(workdir)
    places = [Path(workdir) / f"fold{fold}" for fold in range(folds)]
    configs = [_config_of_fold(config, fold) for fold in range(folds)]
    for fold, (own, place) in enumerate(zip(configs, places, strict=True)):
        print(f"fold {fold} of {folds}, in {place}")
        make_folder(place)
        if not config.init.checkpoint:
            pretrain.run(own, place, command=command, propose=False)
        finetune.run(own, place, command=command, propose=False)
    scores: list[VolumeScore] = []
    patients: dict[str, list[str]] = {}
    for own, place in zip(configs, places, strict=True):
        own.data = take_recorded(own, read_config(place / "finetune")).data
        dataset = load_dataset(own.data)
        split = make_split(dataset, own.data, draw_labeled=False)
        patients[place.name] = list(split.test_patients)
        predictors = load_predictors(place / "finetune")
        found = evaluate_networks(
            predictors, dataset, split.test_volumes, classes=classes
        )
        scores += next(iter(found.values()))  # the run's result comes first
    output = Path(workdir) / "evaluate"
    make_folder(output)
    table = write_evaluation(
        output,
        scores,
        others={},
        classes=classes,
        uses_ground_truth=configs[0].data.crop == "mask_box",
        details={"mode": "folds", "folds": folds, "test_patients": patients},
    )
    print(f"all folds: {table}")
    print(f"the results are in {output}")
    options = " --input SCANS --output MASKS"  # by all networks together
    step = next_step(command, mode="predict", workdir=str(workdir), options=options)
    print(f"next: {step}")


def _config_of_fold(config: ConfigDict, fold: int) -> ConfigDict:
    """The configuration that tests one fold."""
    own = config.copy_and_resolve_references()
    own.data.fold = fold
    return own
