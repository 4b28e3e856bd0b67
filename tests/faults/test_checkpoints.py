"""Strange folders among the checkpoints."""

import pytest

from configs import pix2rep
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes.figures import list_pictures
from pix2rep_jax.modes.reported_runs import read_reported
from pix2rep_jax.runs.checkpoint_steps import (
    has_checkpoint,
    newest_step,
    result_step,
    unfinished,
)
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from tests.runs.test_checkpoints import make_state
from tests.support.run_folder import begin_run


@pytest.mark.parametrize(
    "name", ["99", "077", "\u00b2", "\u0663", "notes", "-5", "1e3", "99/state", "0"]
)
def test_a_stray_folder_is_not_taken_for_a_checkpoint(tmp_path, name):
    """Not by readers, and not by the run when it goes on and saves again."""
    run = tmp_path / "pretrain"
    folder = run / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(make_state(5, value=5))
    (folder / name).mkdir(parents=True)
    if "state" not in name:
        assert has_checkpoint(run) and newest_step(run) == result_step(run) == 5
    with Checkpoints(folder) as checkpoints:
        assert int(checkpoints.restore_latest(make_state()).step) == 5
        checkpoints.save(make_state(6, value=6))
    assert newest_step(run) == result_step(run) == 6


def test_a_checkpoint_of_a_longer_run_is_not_taken_for_the_result(tmp_path):
    """As where a run was copied over an older one: both have their checkpoints there.

    So predicting, scoring, exporting and starting from it would give other numbers.
    """
    run = tmp_path / "finetune"
    with Checkpoints(run / "checkpoints") as checkpoints:
        for step in (4, 40):
            checkpoints.save(make_state(step))
    assert "step 40 of 50" in unfinished(run, 50) and unfinished(run, 40) == ""
    with pytest.raises(InputError, match=r"4 steps.*checkpoint of step 40.*two runs"):
        unfinished(run, 4)


def test_a_run_with_checkpoints_of_another_is_not_shown(tmp_path):
    """Neither in a report nor in pictures."""
    run, config = tmp_path / "finetune", pix2rep.get_config("quick")
    begin_run(run, config, num_steps=40)
    assert read_reported(run).newest_step == 0
    with Checkpoints(run / "checkpoints") as checkpoints:
        checkpoints.save(make_state(40))
    assert read_reported(run).newest_step == 40
    begin_run(run, config, num_steps=4)
    for show in (lambda: read_reported(run), lambda: list_pictures(config, tmp_path)):
        with pytest.raises(InputError, match="checkpoint of step 40"):
            show()
