"""Checkpoints: which are kept, which are found, and which are broken."""

import errno
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_reader import _read, is_damaged, restore_params
from pix2rep_jax.runs.checkpoint_steps import newest_step, quiet, result_step
from pix2rep_jax.runs.checkpoint_sums import ChangedError
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.training.sharding import make_mesh, place
from pix2rep_jax.training.state import create_state


def make_state(step=0, *, width=3, value=0.0):
    params = {"backbone": {"kernel": jnp.full((2, width), float(value))}}
    state = create_state(
        params,
        {"backbone": {"mean": jnp.full((width,), value + 1.0)}},
        optax.adam(0.1),
        jax.random.key(5),
        trainable=("backbone",),
    )
    return place(state.replace(step=jnp.asarray(step, jnp.int32)), make_mesh())


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def steps(folder):
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def test_a_state_comes_back_bit_for_bit(tmp_path):
    """Parameters, optimiser, statistics, step and typed key survive the disk, on the
    devices of the state that asks."""
    state = make_state(7, value=0.1)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_latest(make_state()) is None
        checkpoints.save(state)
        checkpoints.save(state)  # the step is saved already: nothing happens
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(make_state())
    assert_equal(restored, state)
    assert restored.params["backbone"]["kernel"].sharding == (
        state.params["backbone"]["kernel"].sharding
    )


def test_a_run_goes_on_from_moments_that_are_stored_one_by_one(tmp_path):
    """Checkpoints of earlier runs have an array of moments per parameter, where the
    optimiser has one long vector now; the next update is the same."""

    def begin(wrap):
        params = {"b": {"w": jnp.arange(6.0).reshape(2, 3), "v": jnp.ones(2)}}
        adam = wrap(optax.adam(0.1))
        tx = optax.multi_transform({"b": adam}, lambda params: {"b": "b"})
        state = create_state(params, {}, tx, jax.random.key(5), trainable=("b",))
        return tx, place(state, make_mesh())

    def advance(tx, state):
        grads = jax.tree.map(lambda x: jnp.sin(x + state.step), state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state)

    tx, state = begin(lambda adam: adam)
    for _ in range(3):
        state = advance(tx, state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
    flat_tx, like = begin(optax.flatten)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(like)
    vectors = [leaf for leaf in jax.tree.leaves(restored.opt_state) if leaf.ndim]
    assert [leaf.shape for leaf in vectors] == [(8,), (8,)]
    assert all(leaf.any() for leaf in vectors)
    expected = advance(tx, state)
    np.testing.assert_allclose(
        *(x.params["b"]["w"] for x in (advance(flat_tx, restored), expected)), rtol=1e-6
    )
    assert int(restored.step) == 3


def test_the_newest_two_and_the_best_one_are_kept(tmp_path):
    """The best of the scored stays however old; saves without a score never win."""
    with Checkpoints(tmp_path, best_metric="val_dice") as checkpoints:
        for step, score in enumerate([0.2, 0.9, 0.5, None, 0.6, None, None], start=1):
            metrics = None if score is None else {"val_dice": score}
            checkpoints.save(make_state(step, value=step), metrics=metrics)
        best = checkpoints.restore_best(make_state())
        newest = checkpoints.restore_latest(make_state())
    assert steps(tmp_path) == [2, 6, 7]
    assert (int(best.step), int(newest.step)) == (2, 7)


def test_without_a_metric_the_newest_two_are_kept(tmp_path):
    """Pretraining has no score to be best in."""
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(make_state(step))
        assert int(checkpoints.restore_best(make_state()).step) == 3
    assert steps(tmp_path) == [2, 3]


def test_params_are_restored_without_the_optimizer(tmp_path):
    """Another mode reads the last or the best as numpy arrays, knowing no optimiser."""
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder, best_metric="val_dice") as checkpoints:
        for step, score in ((1, 0.9), (2, 0.1), (3, 0.2)):
            state = make_state(step, value=step)
            checkpoints.save(state, metrics={"val_dice": score})
    last, _ = restore_params(tmp_path)
    np.testing.assert_array_equal(last["backbone"]["kernel"], np.full((2, 3), 3.0))
    params, batch_stats = restore_params(tmp_path, keep="best")
    assert isinstance(params["backbone"]["kernel"], np.ndarray)
    np.testing.assert_array_equal(params["backbone"]["kernel"], np.ones((2, 3)))
    np.testing.assert_array_equal(batch_stats["backbone"]["mean"], np.full(3, 2.0))


def test_a_run_without_a_score_gives_its_newest_params(tmp_path):
    """That is what a pretraining run leaves."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for step in (1, 2):
            checkpoints.save(make_state(step, value=step))
    params, _ = restore_params(tmp_path)
    assert params["backbone"]["kernel"][0, 0] == 2


def test_no_checkpoint_is_said(tmp_path):
    """A run that was stopped before its first checkpoint names its folder."""
    with pytest.raises(InputError, match=str(tmp_path / "checkpoints")):
        restore_params(tmp_path)
    (tmp_path / "checkpoints" / "9").mkdir(parents=True)
    with pytest.raises(InputError, match=str(tmp_path / "checkpoints")):
        restore_params(tmp_path)


def test_a_stray_folder_is_no_step(tmp_path, caplog):
    """An empty folder named by a number is set aside, not taken for the newest."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(4))
    (tmp_path / "9").mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert int(checkpoints.restore_latest(make_state()).step) == 4
        checkpoints.save(make_state(9))
    assert steps(tmp_path) == [4, 9]
    assert (tmp_path / "broken-9").is_dir()
    assert "broken-9" in caplog.text


def test_a_broken_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    """The newest whole one is taken, and the broken one is kept aside."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1, value=1))
        checkpoints.save(make_state(2, value=2))
    for path in (tmp_path / "2").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:3])
    with Checkpoints(tmp_path) as checkpoints:
        assert_equal(checkpoints.restore_latest(make_state()), make_state(1, value=1))
    assert "broken-2" in caplog.text
    with pytest.raises(InputError, match="nothing"):
        restore_params(tmp_path / "nothing")


def damage(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:3])


def test_a_broken_best_checkpoint_gives_way_to_the_next_best(tmp_path, caplog):
    """The oldest of those kept, so that a copy cut short may lack it; with all of them
    broken it is said."""
    with Checkpoints(tmp_path, best_metric="val_dice") as checkpoints:
        for step, score in ((1, 0.9), (2, 0.6), (3, 0.2)):
            state = make_state(step, value=step)
            checkpoints.save(state, metrics={"val_dice": score})
    damage(tmp_path / "1" / "state")
    with Checkpoints(tmp_path, best_metric="val_dice") as checkpoints:
        assert int(checkpoints.restore_latest(make_state()).step) == 3
        best = checkpoints.restore_best(make_state())
    assert_equal(best, make_state(2, value=2))
    assert "broken-1" in caplog.text
    assert steps(tmp_path) == [2, 3]
    for step in (2, 3):
        damage(tmp_path / str(step) / "state")
    with Checkpoints(tmp_path, best_metric="val_dice") as checkpoints:
        for _ in ("all are set aside", "none is left"):
            with pytest.raises(InputError, match=str(tmp_path)):
                checkpoints.restore_best(make_state())
    assert not steps(tmp_path)


def test_a_broken_score_is_said_by_whoever_only_reads(tmp_path):
    """The run's own command sets it aside, as it may write in its folder."""
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder, best_metric="val_dice") as checkpoints:
        for step in (1, 2):
            checkpoints.save(make_state(step), metrics={"val_dice": 1 / step})
    (folder / "1" / "metrics" / "metrics").write_text("")
    assert result_step(tmp_path) == 2  # no score is needed for the last one
    for read in (result_step, restore_params):
        with pytest.raises(InputError, match="1/metrics"):
            read(tmp_path, keep="best")
    with Checkpoints(folder, best_metric="val_dice"):
        pass
    assert result_step(tmp_path, keep="best") == 2


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
        OSError(errno.EMFILE, "Too many open files"),
        ValueError("a structure of another version"),
    ],
)
def test_a_whole_checkpoint_is_never_set_aside(tmp_path, monkeypatch, error):
    """What keeps it from being restored now may be gone at the next start: nothing
    is renamed, and no run begins at its first step."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1))
        checkpoints.save(make_state(2, value=2))

    def fail(*_):
        raise error

    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints, "_restore", fail)
        with pytest.raises(InputError, match=f"{tmp_path}/2 "):
            checkpoints.restore_latest(make_state())
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(make_state())
    assert_equal(restored, make_state(2, value=2))


def flip_silently(folder):
    """Changes a bit in the arrays of a checkpoint, such that they can still be read."""
    for path in sorted((folder / "state").rglob("d/*")):
        content = path.read_bytes()
        for share in (0.25, 0.5, 0.75):
            flipped = bytearray(content)
            flipped[int(share * len(content))] ^= 4
            path.write_bytes(flipped)
            try:
                with quiet():
                    _read(folder / "state", ("params", "batch_stats"))
            except ChangedError:
                return
            except Exception:  # Orbax raises what its layers below raise
                pass
        path.write_bytes(content)
    raise AssertionError("each flipped bit was noticed by the layers below")


def test_a_bit_that_changes_numbers_is_damage(tmp_path, caplog):
    """No layer below notices it: a compressed array has no checksum."""
    noise = jax.random.normal(jax.random.key(0), (20, 30))
    params = {"backbone": {"kernel": noise}}
    states = [make_state(step).replace(params=params) for step in (1, 2)]
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for state in states:
            checkpoints.save(state)
    flip_silently(tmp_path / "checkpoints" / "2")
    with pytest.raises(InputError, match="checkpoints/2"):
        restore_params(tmp_path)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert_equal(checkpoints.restore_latest(states[0]), states[0])
    assert "broken-2" in caplog.text


def test_a_changed_score_is_a_broken_checkpoint(tmp_path, caplog):
    """Another number would choose another best step."""
    with Checkpoints(tmp_path, best_metric="val_dice") as checkpoints:
        for step in (1, 2):
            checkpoints.save(make_state(step), metrics={"val_dice": step / 10})
    path = tmp_path / "2" / "metrics" / "metrics"
    path.write_text(path.read_text().replace("0.2", "0.3"))
    with Checkpoints(tmp_path, best_metric="val_dice") as checkpoints:
        assert int(checkpoints.restore_latest(make_state()).step) == 1
    assert "broken-2" in caplog.text


@pytest.mark.parametrize("how", ["missing", "{}", "5", "[", '{"params": "x"}'])
def test_sums_that_are_missing_are_not_asked_for(tmp_path, how):
    """Earlier versions wrote none. Sums that make no sense are damage."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1))
        checkpoints.save(make_state(2))
    path = tmp_path / "2" / "sums" / "metadata"
    assert path.is_file()
    if how == "missing":
        shutil.rmtree(path.parent)
    else:
        path.write_text(how)
    with Checkpoints(tmp_path) as checkpoints:
        step = int(checkpoints.restore_latest(make_state()).step)
    assert step == (2 if how in ("missing", "{}") else 1)


def test_a_score_that_cannot_be_read_is_a_broken_checkpoint(tmp_path, caplog):
    """Orbax reads all scores before anything else."""
    with Checkpoints(tmp_path, best_metric="val_dice") as checkpoints:
        for step in (1, 2):
            checkpoints.save(make_state(step), metrics={"val_dice": step / 10})
    (tmp_path / "2" / "metrics" / "metrics").write_text("")
    with Checkpoints(tmp_path, best_metric="val_dice") as checkpoints:
        assert int(checkpoints.restore_latest(make_state()).step) == 1
    assert "broken-2" in caplog.text


@pytest.mark.parametrize("fault", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_opened_is_not_damaged(tmp_path, monkeypatch, fault):
    """The cause may pass, however the arrays' reader words it."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1))

    def fail(*_, **__):
        raise OSError(fault, "the cause")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", fail)
        assert not is_damaged(tmp_path / "1" / "state", ValueError("NOT_FOUND"))
    assert not is_damaged(tmp_path / "1" / "state", ValueError("NOT_FOUND"))
    damage(tmp_path / "1" / "state")
    assert is_damaged(tmp_path / "1" / "state", ValueError("NOT_FOUND"))


def test_notes_that_cannot_be_read_are_damage(tmp_path, monkeypatch, caplog):
    """Orbax keeps some beside the arrays, which may well be whole."""
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(make_state(step))
    with Checkpoints(tmp_path) as checkpoints:
        restore = checkpoints._restore

        def stumble(step, like, stored):
            return json.loads("") if step == 2 else restore(step, like, stored)

        monkeypatch.setattr(checkpoints, "_restore", stumble)
        assert int(checkpoints.restore_latest(make_state()).step) == 1
    assert "broken-2" in caplog.text


def test_a_run_whose_every_checkpoint_is_broken_is_not_begun_unasked(tmp_path, caplog):
    """They may be brought back; the next start begins anew."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1))
    for path in (tmp_path / "1").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(InputError, match=str(tmp_path)),
    ):
        checkpoints.restore_latest(make_state())
    assert "broken-1" in caplog.text
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_latest(make_state()) is None


def test_a_runs_result_and_how_far_it_has_come_are_told_apart(tmp_path):
    """The best step and the newest one."""
    with Checkpoints(tmp_path / "checkpoints", best_metric="val_dice") as checkpoints:
        for step, score in ((2, 0.9), (4, 0.3), (6, None)):
            metrics = None if score is None else {"val_dice": score}
            checkpoints.save(make_state(step), metrics=metrics)
    assert (result_step(tmp_path, keep="best"), newest_step(tmp_path)) == (2, 6)
    assert result_step(tmp_path) == 6


def test_a_broken_checkpoint_of_another_run_is_said(tmp_path):
    """Reading parameters from a damaged file names the file."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(make_state(1))
    for path in (tmp_path / "checkpoints" / "1" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(InputError, match="checkpoints/1/state"):
        restore_params(tmp_path)


def test_another_network_is_said_and_nothing_is_set_aside(tmp_path):
    """A checkpoint of another width is refused, not thrown away."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1))
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(InputError, match="another shape"),
    ):
        checkpoints.restore_latest(make_state(width=4))
    assert steps(tmp_path) == [1]


def test_a_place_that_cannot_be_made_is_said(tmp_path):
    """A file in the way is one sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=str(tmp_path / "file")):
        Checkpoints(tmp_path / "file")
