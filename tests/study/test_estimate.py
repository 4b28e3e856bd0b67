"""How long a study will still take."""

from pathlib import Path

import pytest

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.methods.pretraining import make_recipe
from pix2rep_jax.runs.metric_log import read_metrics
from pix2rep_jax.study import estimate
from pix2rep_jax.study.estimate import FINISHED, NOTHING, TIMED, guess_left
from pix2rep_jax.study.job_record import Record, write_record
from pix2rep_jax.study.plan import distinct_jobs, make_plan
from pix2rep_jax.training.optimizer import count_steps
from tests.support.plans import finish_by_hand, plan, plan_config


def test_guesses_come_from_finished_runs_or_from_timings(tmp_path):
    """Alike before similar; of a started job only the rest; its source is named."""
    cells = plan("baseline", "proposed", folder=tmp_path)
    assert {guess.source for guess in guess_left(cells)} == {NOTHING}
    finish_by_hand(cells[0].job, 60.0)  # baseline, 1 patient, draw 0
    finish_by_hand(cells[2].job, 80.0)  # baseline, 2 patients, draw 0
    cells[1].job.workdir.mkdir(parents=True)
    write_record(cells[1].job, Record("interrupted", 20.0))
    guesses = {guess.job.key: guess for guess in guess_left(cells)}
    assert len(guesses) == 1 + 8 - 2
    assert guesses[cells[1].job.key].seconds == 40
    assert guesses[cells[3].job.key].seconds == 80
    assert guesses[cells[4].job.key][2:] == (70, FINISHED)  # proposed: same mode
    assert guesses[cells[4].pretraining.key].source == NOTHING
    timed = {
        g.job.key: g for g in guess_left(cells, timer=lambda jobs: [7.0] * len(jobs))
    }
    assert timed[cells[4].pretraining.key][2:] == (7, TIMED)
    assert timed[cells[4].job.key][2:] == (7, TIMED)
    assert timed[cells[3].job.key].source == FINISHED


def test_another_seed_takes_as_long(tmp_path):
    """A stage is like the same stage; what is pretrained otherwise is timed."""
    methods = ("chaitanya", "proposed", "proposed_plain")
    config = plan_config(*methods, labeled=(1,), draws=1)
    config.study.seeds = 2
    cells = make_plan(config, tmp_path)
    jobs = {(c.method, c.seed): c.pretraining for c in cells}
    names = [estimate.likeness(job) for job in jobs.values()]
    names += [estimate.likeness(jobs["chaitanya", seed].start) for seed in (0, 1)]
    assert len(set(names)) == len(names) / 2 == 4
    assert names[0] == names[3] and names[-1] == names[-2]
    finish_by_hand(jobs["proposed", 0], 30.0)
    asked = []

    def timer(wanted):
        asked.extend(job for _, job in wanted)
        return [9.0] * len(wanted)

    guesses = {guess.job.key: guess for guess in guess_left(cells, timer=timer)}
    assert guesses[jobs["proposed", 1].key][2:] == (30, FINISHED)
    assert jobs["proposed", 1] not in asked and jobs["chaitanya", 1] in asked


def test_jobs_that_are_alike_are_timed_once(tmp_path, monkeypatch, capsys):
    """With what they start from before them, even if that is finished long since; and
    the count that is shown is of these alone."""
    cells = plan("baseline", "proposed", folder=tmp_path)
    timed = []

    def time_run(mode, config, workdir):
        timed.append((mode, config.init.checkpoint))
        return 2.0, 0.5

    monkeypatch.setattr(estimate, "time_run", time_run)
    jobs = [(cell, cell.job) for cell in cells if cell.method == "proposed"]
    assert len(jobs) == 4
    for _, job in jobs:
        job.config.finetune.num_steps = 10
    assert estimate.time_jobs(jobs, folder=tmp_path) == [2 + 10 * 0.5] * 4
    (first, second) = timed
    assert first[0] == "pretrain"
    start = tmp_path / estimate.likeness(cells[-1].pretraining)
    assert second == ("finetune", str(start))
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in shown] == [
        "timed pretrain of proposed, 1 of 2",
        "timed finetune of proposed, 2 of 2",
    ]


@pytest.mark.parametrize("variant", ["quick", "small", "paper"])
def test_what_is_timed_is_a_few_steps_of_every_method(variant):
    """Whichever section says how many; and the estimate counts the steps of the run
    itself, in samples of the method's own kind where its epochs decide."""
    config = plan_config(labeled=(1,), draws=1, variant=variant)
    config.study.methods = tuple(config.study.rows)
    cells = make_plan(config, Path("/nowhere"))
    methods = set()
    for _, job in distinct_jobs(cells):
        short = estimate.short_config(job)
        short = make_recipe(short) if job.mode == "pretrain" else short[job.mode]
        assert count_steps(short, num_samples=10_000) == 4
        if job.mode == "pretrain":
            methods.add(job.config.pretrain.method)
            steps = make_recipe(job.config).num_steps
            assert not steps or estimate.num_steps(job, {}) == steps
    assert methods >= {"pix2rep", "simclr", "byol", "barlow_twins", "chaitanya"}


def test_epochs_are_of_a_methods_own_samples(tmp_path):
    """Chaitanya's are volumes, of which each gives a slice a partition."""
    config = plan_config("chaitanya_global", "proposed", labeled=(1,), draws=1)
    config.data.update(
        {
            "cache_dir": str(tmp_path),
            "phantom_training": 6,
            "phantom_testing": 1,
            "size": 16,
            "crop_px": 16,
            "spacing_mm": 10.0,
        }
    )
    for section in ("pretrain", "chaitanya"):
        config[section].num_steps, config[section].batch_size = 0, 4
    config.pretrain.num_epochs = 2
    by_volume, by_slice = (
        estimate.num_steps(cell.pretraining, {})
        for cell in make_plan(config, tmp_path / "study")
    )
    dataset = load_dataset(config.data)
    slices = make_split(dataset, config.data, draw_labeled=False).pretrain_slices
    assert by_volume == -(-2 * 12 // 4)  # six patients, ED and ES
    assert by_slice == -(-2 * len(slices) // 4) > by_volume


def test_a_kind_of_run_that_fails_is_timed_once_and_ends_nothing(
    tmp_path, monkeypatch, capsys
):
    """It will fail in the study too, which goes on; the others are timed."""
    cells = plan("baseline", "proposed", folder=tmp_path)
    timed = []

    def time_run(mode, config, workdir):
        timed.append(mode)
        if mode == "pretrain":
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
        return 2.0, 0.5

    monkeypatch.setattr(estimate, "time_run", time_run)
    totals = estimate.time_jobs([(x, x.job) for x in cells], folder=tmp_path)
    assert timed == ["finetune", "pretrain"]
    assert totals[:4] == [2 + 500 * 0.5] * 4 and totals[4:] == [0.0] * 4
    said = capsys.readouterr().out
    assert said.count("pretrain of proposed failed") == 1 and "enough memory" in said


def test_a_timed_step_holds_no_validation(tmp_path):
    """A run validates now and then only; what is timed is trained, and scored once."""
    (cell,) = plan("baseline", folder=tmp_path / "study", labeled=(1,), draws=1)
    config = cell.job.config
    config.data.update(
        {
            "cache_dir": str(tmp_path),
            "phantom_training": 2,
            "phantom_testing": 1,
            "size": 16,
            "crop_px": 16,
            "spacing_mm": 10.0,
        }
    )
    config.model.update({"channels": (4, 8), "scratch_num_features": 4})
    overhead, seconds_a_step = estimate.time_run(
        "finetune", estimate.short_config(cell.job), tmp_path / "timed"
    )
    assert overhead > 0 and seconds_a_step > 0
    logged = read_metrics(tmp_path / "timed" / "finetune" / "metrics.jsonl")
    assert logged["loss"][0] == [1, 2, 3, 4] and logged["val_dice"][0] == [4]
