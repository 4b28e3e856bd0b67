"""Plans of studies as small as they can be, and jobs that only seem to have run."""

from pathlib import Path

import numpy as np

from configs import study
from pix2rep_jax.evaluation.report import write_evaluation
from pix2rep_jax.evaluation.volume_score import VolumeScore
from pix2rep_jax.study.job_record import Record, write_record
from pix2rep_jax.study.jobs import list_cells

CLASSES = ("BG", "RV", "MYO", "LV")
TESTED = ("patient004",)  # the test patients of plan_config's phantom


def mm(distance):
    return np.full(4, float(distance))


def plan_config(*methods, labeled=(1, 2), draws=2, variant="quick"):
    config = study.get_config(variant)
    config.study.methods = methods or config.study.methods
    config.study.labeled, config.study.draws = labeled, draws
    config.study.resamples, config.study.figure3 = 20, ()
    if variant == "quick":
        config.data.update({"phantom_training": 3, "phantom_testing": 1})
        config.data.update({"size": 16, "crop_px": 16, "spacing_mm": 10.0})
    return config


def plan(*methods, folder=Path("/nowhere"), **options):
    return list_cells(plan_config(*methods, **options), folder)


def finish_by_hand(job, seconds=1.0):
    """As if a job had been run: its record, and its scores where it has some."""
    folder = job.workdir / job.mode
    folder.mkdir(parents=True)
    if job.mode != "pretrain":
        (patient,) = TESTED
        score = VolumeScore(
            f"{patient}_ED", patient, "ED", "", "native", np.full(4, 0.5), mm(5), mm(2)
        )
        write_evaluation(
            folder, [score], classes=CLASSES, details={"test_patients": TESTED}
        )
    write_record(job, Record("finished", seconds))
