"""--mode context: score in-context segmentation, which needs no training."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.checks import unseen_classes
from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.held_out import ways_to_test
from pix2rep_jax.data.slices.stored_slices import select
from pix2rep_jax.data.splits import Split
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.report import write_evaluation
from pix2rep_jax.evaluation.score_volumes import evaluate_volumes
from pix2rep_jax.inference.in_context import make_support_predict, read_options
from pix2rep_jax.inference.pixel_embeddings import load_embedding
from pix2rep_jax.modes.loaded_run import load, print_notes
from pix2rep_jax.runs.manifest import make_folder
from pix2rep_jax.runs.plan_file import settle
from pix2rep_jax.runtime.progress_bar import open_progress_bar
from pix2rep_jax.wording import count

__all__ = ["run"]


class Question(NamedTuple):
    """Volumes to segment, and what they are compared with.

    Attributes:
        volumes: Indices into the data set's volumes.
        support: Indices into its slices; all have masks.
    """

    volumes: tuple[int, ...]
    support: np.ndarray


def run(config: ConfigDict, workdir: Path, *, command: Sequence[str] = ()) -> None:
    """Segments the test patients by the masks of the labelled ones, and scores that.

    Writes evaluation.json and per_volume.csv into `<workdir>/context`.

    Args:
        config: The whole configuration; its section `context` has the options.
        workdir: The run's folder.
        command: The words of the command line, program first.

    Raises:
        InputError: If the data or the pretrained run cannot be used, if all masks of
            the support are empty, or if there is nothing to score.
    """
    config = settle(config, workdir, "context")
    loaded = load(config, workdir, "context", required_by="--mode context")
    dataset, split = loaded.dataset, loaded.split
    assert loaded.backbone is not None
    origin, options = loaded.backbone.origin, read_options(config)
    classes, own_frame = tuple(config.data.classes), config.context.own_frame
    questions = list_questions(dataset, split, own_frame=own_frame)
    folder = Path(workdir) / "context"
    make_folder(folder)
    used = np.unique(np.concatenate([each.support for each in questions]))
    print_notes(unseen_classes(classes, select(dataset.labels, used)))
    embed = load_embedding(
        Path(origin.run),
        options.embedding,
        images=select(dataset.images, used),
        boxes=dataset.boxes[used],
        recalibrated=config.init.recalibrate,
    )
    print(
        f"in-context segmentation by {origin.run}, {count(len(used), 'slice')} with "
        "masks; nothing is trained"
    )
    scores = []
    total = sum(len(volumes) for volumes, _ in questions)
    with open_progress_bar(total, description="context", unit="scan", delay_s=5) as bar:
        for volumes, support in questions:
            predict = make_support_predict(
                embed,
                select(dataset.images, support),
                select(dataset.labels, support),
                dataset.boxes[support],
                num_classes=len(classes),
                options=options,
            )
            for volume in volumes:
                scores += evaluate_volumes(predict, dataset, [volume], classes=classes)
                bar.update()
    table = write_evaluation(
        folder,
        scores,
        classes=classes,
        uses_ground_truth=config.data.crop == "mask_box",
        details={
            "mode": "context",
            "initialised_from": origin.run,
            "pretrained_steps": origin.step,
            "pretrained_digest": origin.digest,
            "context": {**options._asdict(), "own_frame": own_frame},
            "recalibrated": config.init.recalibrate,
            "labeled_patients": [] if own_frame else list(split.labeled_patients),
            "test_patients": list(split.test_patients),
        },
    )
    print(table)
    print(f"the results are in {folder}")


def list_questions(
    dataset: Dataset, split: Split, *, own_frame: bool
) -> list[Question]:
    """Lists what is segmented by what.

    Args:
        dataset: All slices.
        split: Who is labelled, and who is tested.
        own_frame: Whether a patient's first masked volume is the support of the others.
            If not, the labelled patients are the support of every volume.

    Raises:
        InputError: If there is nothing to segment.
    """
    if not own_frame:
        # Nothing is validated, so the validation slices help too.
        support = np.sort(np.concatenate([split.train_slices, split.val_slices]))
        found = [Question(split.test_volumes, support)] if split.test_volumes else []
    else:
        owners: dict[str, list[int]] = {}
        for volume in split.test_volumes:
            owners.setdefault(dataset.volumes[volume].patient, []).append(volume)
        found = [
            Question(tuple(others), np.flatnonzero(dataset.volume_index == first))
            for first, *others in owners.values()
            if others and (dataset.volume_index == first).any()
        ]
    if not found:
        wanted = (
            "give a patient two scans with masks, or set context.own_frame=False"
            if own_frame and split.test_volumes
            else ways_to_test(dataset.volumes)
        )
        raise InputError(f"there is no test volume to segment: {wanted}")
    return found
