"""The loop: what it logs, scores and saves, how it stops, how it goes on."""

import itertools
import json
import os
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.metric_log import MetricWriter
from pix2rep_jax.runtime.progress_bar import open_progress_bar
from pix2rep_jax.training import interrupt, loop
from pix2rep_jax.training.loop import train
from pix2rep_jax.training.sharding import make_mesh, place, replicated
from pix2rep_jax.training.state import create_state

TX = optax.adam(0.1)


def make_state():
    params = {"weight": jnp.arange(3.0)}
    state = create_state(params, {}, TX, jax.random.key(1), trainable=("weight",))
    return place(state, make_mesh())


def make_batches(key, first_step):
    """One target per step, which the key and the step alone decide."""
    for step in itertools.count(first_step):
        yield jax.random.normal(jax.random.fold_in(key, step), (3,))


def make_step(*, explode_at=None, exploding="loss"):
    """A compiled step that donates its state, as the real ones do. At one step its
    "loss" or its "gradient" is not a number."""

    def step(state, target):
        loss = lambda params: jnp.sum((params["weight"] - target) ** 2)  # noqa: E731
        value, grads = jax.value_and_grad(loss)(state.params)
        if explode_at is not None:
            factor = jnp.where(state.step + 1 == explode_at, jnp.nan, 1.0)
            if exploding == "loss":
                value *= factor
            else:
                grads = jax.tree.map(lambda x: x.at[0].multiply(factor), grads)
        updates, opt_state = TX.update(grads, state.opt_state)
        state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
        )
        return state, {"loss": value, "l2_updates": optax.tree.norm(updates)}

    return jax.jit(step, donate_argnums=0, out_shardings=replicated(make_mesh()))


STEP = make_step()


def run(folder, *, step=STEP, num_steps=20, best_metric=None, **options):
    settings = {
        "log_every": 5,
        "save_every": 6,
        "save_minutes": 60.0,
        "description": "toy",
    } | options
    folder.mkdir(exist_ok=True)
    with (
        Checkpoints(folder / "checkpoints", best_metric=best_metric) as checkpoints,
        MetricWriter(folder) as metric_log,
    ):
        state = make_state()
        state = checkpoints.restore_latest(state) or state
        state = train(
            state,
            make_batches(state.key.copy(), int(state.step)),
            step,
            num_steps=num_steps,
            save=lambda state, scores: checkpoints.save(state, metrics=scores),
            log=metric_log.write,
            **settings,
        )
    return state


def lines(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def saved(folder):
    names = [p.name for p in (folder / "checkpoints").iterdir()]
    return sorted(int(name) for name in names if name.isdigit())


def plain(num_steps):
    state, losses = make_state(), []
    batches = make_batches(state.key.copy(), 0)
    for batch in itertools.islice(batches, num_steps):
        state, metrics = STEP(state, batch)
        losses.append(float(metrics["loss"]))
    return state, losses


def test_it_is_the_plain_loop_and_logs_the_right_steps(tmp_path):
    """Parameters and logged losses are those of a bare for loop, bit for bit, though
    metrics are read one step late."""
    state = run(tmp_path)
    expected, losses = plain(20)
    np.testing.assert_array_equal(state.params["weight"], expected.params["weight"])
    assert [line["step"] for line in lines(tmp_path)] == [5, 10, 15, 20]
    for line in lines(tmp_path):
        assert line["loss"] == losses[line["step"] - 1]
        assert line["steps_per_second"] > 0
    assert saved(tmp_path) == [18, 20]


def test_a_watched_run_is_the_same_run(tmp_path, monkeypatch):
    """A state is measured when it is due and at the end; it is logged, shown in the
    bar, and not saved."""
    seen, shown = [], []
    show = lambda bar, text, **_: shown.append(text)  # noqa: E731
    monkeypatch.setattr("tqdm.tqdm.set_postfix_str", show)

    def watch(state):
        seen.append(np.asarray(state.params["weight"]))
        return {"rate": float(state.step)}

    state = run(tmp_path, watch=watch, watch_every=8)
    np.testing.assert_array_equal(state.params["weight"], plain(20)[0].params["weight"])
    rates = {x["step"]: x["rate"] for x in lines(tmp_path) if "rate" in x}
    assert rates == {8: 8.0, 16: 16.0, 20: 20.0}
    assert "rate" not in shown[5] and "rate=16.000" in shown[-1]
    for number, weight in zip(rates, seen, strict=True):
        np.testing.assert_array_equal(weight, plain(number)[0].params["weight"])
    assert saved(tmp_path) == [18, 20]


def test_a_finished_run_trains_nothing(tmp_path):
    """Starting it again returns its state."""
    first = run(tmp_path)
    never = lambda *_: pytest.fail("a step was taken")  # noqa: E731
    again = run(tmp_path, step=never)
    np.testing.assert_array_equal(first.params["weight"], again.params["weight"])
    assert [line["step"] for line in lines(tmp_path)] == [5, 10, 15, 20]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_calls_what_was_set(monkeypatch, first):
    """Which of the two it is does not matter. Afterwards all is as before."""
    monkeypatch.setattr(interrupt, "_at_second", [])
    seen, before = [], signal.getsignal(signal.SIGTERM)
    interrupt.call_at_second(lambda number, _: seen.append(number))
    with interrupt.Interrupt() as caught:
        signal.raise_signal(first)
        assert caught.signal == first and seen == []
        signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_saves_and_the_next_start_ends_bit_for_bit_alike(
    tmp_path, number, status
):
    """The step under way is saved, the exit status is the shell's, and going on ends
    where an uninterrupted run does, with the same lines of metrics."""
    calls = []

    def interrupted(state, batch):
        calls.append(None)
        if len(calls) == 8:
            os.kill(os.getpid(), number)
        return STEP(state, batch)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught:
        run(tmp_path / "a", step=interrupted)
    assert caught.value.code == status
    assert saved(tmp_path / "a") == [6, 8]
    assert signal.getsignal(number) == before
    resumed = run(tmp_path / "a")
    whole = run(tmp_path / "b")
    for a, b in zip(jax.tree.leaves(resumed), jax.tree.leaves(whole), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)
    bare = lambda folder: [(x["step"], x["loss"]) for x in lines(folder)]  # noqa: E731
    assert bare(tmp_path / "a") == bare(tmp_path / "b")


def test_a_second_signal_acts_at_once(tmp_path):
    """Who presses Ctrl-C twice does not wait."""

    def impatient(state, batch):
        # In this very thread: what a process is sent may reach another one first.
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return STEP(state, batch)

    # A shell starts what runs in its background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, step=impatient)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("exploding", ["loss", "gradient"])
def test_what_is_not_finite_stops_before_it_is_saved(tmp_path, exploding):
    """A loss, or one entry of a gradient whose loss is finite. The error names the
    step; the earlier saves remain."""
    with pytest.raises(InputError, match=r"step 13\b"):
        run(tmp_path, step=make_step(explode_at=13, exploding=exploding))
    assert saved(tmp_path) == [6, 12]
    with pytest.raises(InputError, match=r"step 12\b"):
        run(tmp_path / "b", step=make_step(explode_at=12, exploding=exploding))
    assert saved(tmp_path / "b") == [6]


def test_the_best_scored_state_is_kept_and_others_never_win(tmp_path):
    """Scores come at their own steps and at the end; each is logged and saved."""
    scores = {4: 0.3, 8: 0.8, 12: 0.5, 16: 0.8, 20: 0.1}
    asked = []

    def evaluate(state):
        asked.append(int(state.step))
        return {"val_dice": scores[int(state.step)]}

    options = {"best_metric": "val_dice", "eval_every": 4, "evaluate": evaluate}
    run(tmp_path, **options)
    assert asked == [4, 8, 12, 16, 20]
    logged = {x["step"]: x["val_dice"] for x in lines(tmp_path) if "val_dice" in x}
    assert logged == scores
    with Checkpoints(tmp_path / "checkpoints", best_metric="val_dice") as checkpoints:
        assert int(checkpoints.restore_best(make_state()).step) == 16  # the later


def test_an_interruption_does_not_change_which_state_is_best(tmp_path):
    """The state that a signal saves is not scored, so it cannot become the best."""

    def evaluate(state):
        return {"val_dice": 1.0 / int(state.step)}

    def interrupted(state, batch):
        state, metrics = STEP(state, batch)
        if int(state.step) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return state, metrics

    options = {"best_metric": "val_dice", "eval_every": 4, "evaluate": evaluate}
    with pytest.raises(SystemExit):
        run(tmp_path, step=interrupted, **options)
    run(tmp_path, **options)
    with Checkpoints(tmp_path / "checkpoints", best_metric="val_dice") as checkpoints:
        assert int(checkpoints.restore_best(make_state()).step) == 4


def test_a_signal_in_the_last_step_stops_too(tmp_path):
    """Before the scoring that would follow; the next start has nothing to train."""

    def interrupted(state, batch):
        state, metrics = STEP(state, batch)
        if int(state.step) == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return state, metrics

    with pytest.raises(SystemExit, match="143"):
        run(tmp_path, step=interrupted)
    assert saved(tmp_path)[-1] == 20
    assert int(run(tmp_path).step) == 20


def test_a_signal_while_the_last_state_is_scored_stops_too(tmp_path):
    """All is saved by then; what would follow is left to the next start."""

    def evaluate(state):
        if int(state.step) == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"val_dice": 0.5}

    options = {"best_metric": "val_dice", "eval_every": 0, "evaluate": evaluate}
    with pytest.raises(SystemExit, match="143"):
        run(tmp_path, **options)
    assert lines(tmp_path)[-1] == {"step": 20, "val_dice": 0.5}
    assert saved(tmp_path)[-1] == 20
    assert int(run(tmp_path, **options).step) == 20


def test_minutes_save_too(tmp_path):
    """A slow run is saved by the clock."""
    run(tmp_path, num_steps=4, save_every=100, save_minutes=0.0)
    assert saved(tmp_path) == [3, 4]


def test_zero_logs_and_saves_the_end_only(tmp_path):
    """As 0 scores the end only."""
    run(tmp_path, num_steps=7, log_every=0, save_every=0)
    assert [line["step"] for line in lines(tmp_path)] == [7]
    assert saved(tmp_path) == [7]


def test_the_logged_speed_is_that_of_the_steps_since_the_last_line(
    tmp_path, monkeypatch
):
    """Half a second a step is two steps a second in every line, also after a start in
    the middle of an interval and in a last interval that is shorter."""
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(loop, "time", clock)

    def timed(state, batch):
        clock.now += 0.5
        return STEP(state, batch)

    run(tmp_path, step=timed, num_steps=7)
    run(tmp_path, step=timed, num_steps=18)
    speeds = {line["step"]: line["steps_per_second"] for line in lines(tmp_path)}
    assert speeds == dict.fromkeys((5, 7, 10, 15, 18), 2.0)


def test_metrics_are_read_one_step_late():
    """The metrics of a step are read only after the next step was dispatched."""
    events = []

    class Loss:
        def __init__(self, number):
            self.number = number

        def __array__(self, dtype=None, copy=None):
            events.append(("read", self.number))
            return np.zeros((), np.float32)

    def step(state, batch):
        events.append(("dispatch", batch))
        return state, {"loss": Loss(batch)}

    train(
        types.SimpleNamespace(step=0),
        itertools.count(1),
        step,
        num_steps=4,
        log_every=0,
        save_every=0,
        save_minutes=60.0,
        save=lambda state, scores: None,
        log=lambda number, values: None,
        description="toy",
    )
    for number in (1, 2, 3):
        first_read = events.index(("read", number))
        assert events.index(("dispatch", number + 1)) < first_read
        if number < 3:
            assert first_read < events.index(("dispatch", number + 2))


def test_the_loop_takes_no_batch_that_it_does_not_train_on():
    """A stream of exactly the missing steps is enough."""
    taken = []

    def step(state, batch):
        taken.append(batch)
        return state, {"loss": np.float32(0)}

    batches = iter(range(3, 100))
    train(
        types.SimpleNamespace(step=3),
        batches,
        step,
        num_steps=7,
        log_every=0,
        save_every=0,
        save_minutes=60.0,
        save=lambda state, scores: None,
        log=lambda number, values: None,
        description="toy",
    )
    assert taken == [3, 4, 5, 6]
    assert next(batches) == 7


def test_a_log_file_gets_whole_lines(capfd):
    """Off a terminal the progress is lines that name step and loss, without bars."""
    with open_progress_bar(10, initial=4, description="toy") as bar:
        for _ in range(6):
            bar.set_postfix_str("loss=0.5", refresh=False)
            bar.update()
    out, err = capfd.readouterr()
    assert out == "" and "\r" not in err and err.endswith("\n")
    first, last = err.splitlines()
    assert "4/10" in first
    assert "10/10" in last and "loss=0.5" in last
