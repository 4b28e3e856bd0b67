"""Strange folders among the checkpoints."""

import pytest

from pix2rep_jax.runs.checkpoint_reader import has_checkpoint, newest_step, result_step
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from tests.runs.test_checkpoints import make_state


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
