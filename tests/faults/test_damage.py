"""Files of a checkpoint that were damaged; the long form damages all of a run."""

import shutil
import sys

import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.silent_tasks import silent_tasks
from tests.faults.long.files import DAMAGES, damage
from tests.runs.test_checkpoints import assert_equal, make_state


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints with scores."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(folder, best_metric="val_dice") as checkpoints:
        for step in (1, 2):
            state = make_state(step, value=step)
            checkpoints.save(state, metrics={"val_dice": step / 2})
    return folder


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("state/array_metadatas/process_0", "deleted"),
        ("state/manifest.ocdbt", "truncated"),
        ("state/ocdbt.process_0/d/*", "flipped"),
        ("metrics/metrics", "zeroed"),
    ],
)
def test_a_damaged_checkpoint_is_never_other_numbers(saved, tmp_path, capfd, file, how):
    """The newest state, the one before, or one sentence; and never a traceback."""
    folder = shutil.copytree(saved, tmp_path / "copy")
    damage(max(folder.glob(f"2/{file}"), key=lambda path: path.stat().st_size), how)
    try:
        with Checkpoints(folder, best_metric="val_dice") as checkpoints:
            restored = checkpoints.restore_latest(make_state())
    except InputError as error:
        assert str(folder) in str(error)
    else:
        step = int(restored.step)
        assert step in (1, 2)
        assert_equal(restored, make_state(step, value=step))
    assert "Traceback" not in capfd.readouterr().err


def test_tasks_of_a_read_that_failed_say_nothing(capsys):
    """They end after it, and would print a traceback each; later ones do again."""
    closed = RuntimeError("Event loop is closed")
    with pytest.raises(ValueError), silent_tasks():
        sys.excepthook(RuntimeError, closed, None)
        raise ValueError
    assert capsys.readouterr().err == ""
    sys.excepthook(RuntimeError, closed, None)
    assert "closed" in capsys.readouterr().err


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damage_changes_the_file(tmp_path, how):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    damage(path, how)
    assert not path.is_file() or path.read_bytes() != b"content"
