"""Numbers that are not finite, and files that would run code when they are read."""

import functools
import pathlib
import re

import jax.numpy as jnp
import numpy as np
import pytest

import pix2rep_jax
from pix2rep_jax.data.slices import slice_cache
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_steps import newest_step
from pix2rep_jax.runs.diverged_batch import load_batch, save_batch
from tests.training.test_loop import make_batches, make_state, make_step, run


@pytest.mark.parametrize("exploding", ["loss", "gradient"])
def test_a_run_that_diverges_keeps_its_batch_and_its_checkpoint(tmp_path, exploding):
    """The batch of the very step, which is the ninth; the checkpoint is the sixth."""
    folder = tmp_path / "run"
    step = make_step(explode_at=9, exploding=exploding)
    with pytest.raises(InputError, match=r"diverged-9\.npz"):
        run(folder, step=step, keep_batch=functools.partial(save_batch, folder))
    assert newest_step(folder) == 6
    (path,) = folder.glob("diverged-*")
    batches = make_batches(make_state().key, 0)
    expected = [next(batches) for _ in range(9)][8]
    np.testing.assert_array_equal(load_batch(path)["batch"], expected)


def test_a_batch_of_several_sets_comes_back_as_it_was(tmp_path):
    """bfloat16, which NumPy's files do not have, as float32."""
    batch = {
        "labeled": {"image": jnp.ones((2, 3)), "label": jnp.zeros((2,), jnp.uint8)},
        "unlabeled": {"image": jnp.full((2,), 0.5, jnp.bfloat16)},
    }
    found = load_batch(save_batch(tmp_path, 3, batch))
    assert found["labeled"]["label"].dtype == np.uint8
    np.testing.assert_array_equal(found["labeled"]["image"], np.ones((2, 3)))
    np.testing.assert_array_equal(found["unlabeled"]["image"], [0.5, 0.5])
    assert found["unlabeled"]["image"].dtype == np.float32


def test_a_batch_that_cannot_be_kept_hides_nothing(tmp_path, caplog):
    """The run has its own error to report."""
    assert save_batch(tmp_path / "missing", 3, jnp.ones(2)) is None
    assert "step 3" in caplog.text


def test_no_code_reads_a_pickle():
    """A file of someone else could then run anything."""
    unsafe = re.compile(
        r"allow_pickle\s*=\s*True|\bpickle\.[lUd]|import pickle|torch\.load|joblib"
        r"|\bdill\b|cloudpickle|marshal\.load|yaml\.load\("
    )
    root = pathlib.Path(pix2rep_jax.__file__).parent
    files = [*root.rglob("*.py"), *(root.parent / "configs").glob("*.py")]
    assert len(files) > 100
    found = [path.name for path in files if unsafe.search(path.read_text("utf-8"))]
    assert found == []


class Trap:
    """Leaves a trace where it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return pathlib.Path.touch, (self.place,)


def test_a_pickle_among_arrays_is_not_run(tmp_path, caplog):
    """In a cache it is damage; in a batch it is an error."""
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    names = ("images", "labels", "volume_index", "slice_index", "boxes", "records")
    for name in names:
        path = tmp_path / f"{name}.npz"
        arrays = dict.fromkeys((*names, "grids"), np.zeros(1)) | {name: trap}
        np.savez(path, **arrays)
        assert slice_cache.load(path, dict, dict) is None
        with pytest.raises(ValueError, match="allow_pickle"):
            load_batch(path)
    assert not (tmp_path / "sprung").exists()
    np.load(path, allow_pickle=True)["records"]
    assert (tmp_path / "sprung").exists()  # so the trap works
