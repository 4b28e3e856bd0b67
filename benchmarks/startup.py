"""Measures what a command does before its first step, in seconds of processor time.

python -m benchmarks.startup --root ACDC [--old FOLDER] [--rounds 3]

Each row is a process of its own: a mode of `small`, with an empty folder of compiled
programs and with the one that the run before has left. The slices are cached before.
Pretraining, probing and fine-tuning end after their first step; evaluating and
predicting end by themselves. With --old the code of another checkout takes turns with
this one. Processor time counts all threads; unlike the clock, other programs on the
same cores change it little.
"""

import argparse
import builtins
import importlib
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parents[1]
TRAINING = ("pretrain", "probe", "finetune")
MODES = (*TRAINING, "evaluate", "predict")
STAGES = {
    "imports": (),
    "data": (
        ("pix2rep_jax.data.dataset", "load_dataset"),
        ("pix2rep_jax.data.splits", "make_split"),
        ("pix2rep_jax.data.splits", "take_pretraining_slices"),
    ),
    "tracing": (
        ("jax._src.pjit", "_infer_params"),
        ("jax._src.interpreters.pxla", "lower_sharding_computation"),
    ),
    "compiling": (("jax._src.compiler", "compile_or_get_cached"),),
    "network": (
        ("pix2rep_jax.runs.checkpoint_reader", "restore_params"),
        ("pix2rep_jax.runs.checkpoint_reader", "restore_model"),
        ("pix2rep_jax.models.batch_norm", "recalibrate"),
    ),
    "rest": (),
}
"""Functions by the stage that their time counts for; the innermost one counts."""


class FirstStepDone(BaseException):
    """Ends a training run."""


class Clock:
    """Processor time by stage."""

    def __init__(self):
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.num_programs = 0
        self._stages = ["rest"]
        self._last = 0.0  # Python's own start counts

    def count(self):
        """Adds the time since the last call to the innermost stage."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        now = usage.ru_utime + usage.ru_stime
        self.seconds[self._stages[-1]] += now - self._last
        self._last = now

    def wrap(self, stage, function):
        """Makes a function's time in the main thread count for a stage."""

        def timed(*arguments, **options):
            if threading.current_thread() is not threading.main_thread():
                return function(*arguments, **options)
            self.count()
            inside = self._stages[-1]
            self._stages.append("imports" if inside == "imports" else stage)
            self.num_programs += stage == "compiling"
            try:
                return function(*arguments, **options)
            finally:
                self.count()
                self._stages.pop()

        return timed


def watch(clock):
    """Times each function of `STAGES` from the moment that its module is there."""
    waiting = {place: stage for stage, places in STAGES.items() for place in places}
    waiting["pix2rep_jax.training.step", "compile_step"] = "first step"
    import_now = clock.wrap("imports", builtins.__import__)

    def replace(place, stage):
        module = sys.modules.get(place[0])
        if module is None or module.__spec__._initializing:
            return
        function = getattr(module, place[1])
        ours = clock.wrap(stage, function) if stage in STAGES else stop_after(function)
        setattr(module, place[1], ours)
        del waiting[place]

    def import_and_replace(*arguments, **options):
        before = len(sys.modules)
        module = import_now(*arguments, **options)
        if len(sys.modules) != before:
            for place, stage in list(waiting.items()):
                replace(place, stage)
        return module

    builtins.__import__ = import_and_replace
    importlib.import_module = clock.wrap("imports", importlib.import_module)


def stop_after(compile_step):
    """Makes a compiled step that ends the run once it has been computed."""

    def compile_one(*arguments, **options):
        step = compile_step(*arguments, **options)

        def step_and_stop(state, batch):
            jax = sys.modules["jax"]
            jax.block_until_ready(step(state, batch))
            raise FirstStepDone

        return step_and_stop

    return compile_one


def run_child(code, words):
    """Runs the program in this process and prints its times; called by `measure`."""
    sys.path[0] = code
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=0"  # else it starts anew
    sys.argv = ["main.py", *words]
    clock = Clock()
    watch(clock)
    try:
        from pix2rep_jax.cli.program import main

        main()
    except (FirstStepDone, SystemExit) as end:
        if isinstance(end.args[0] if end.args else None, str):
            raise
    clock.count()
    content = {**clock.seconds, "programs": clock.num_programs}
    print("\n" + json.dumps(content), flush=True)
    os._exit(0)


def measure(code, mode, *, work, programs, root, options=()):
    """Runs one command; returns its times by stage."""
    words = [f"--config={code}/configs/pix2rep.py:small", f"--mode={mode}", *options]
    words += [f"--config.data.root={root}", f"--config.data.cache_dir={work / 'cache'}"]
    child = [sys.executable, str(pathlib.Path(__file__)), "--child", str(code), *words]
    variables = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(programs)}
    said = subprocess.run(
        child, cwd=code, env=variables, capture_output=True, text=True
    )
    if said.returncode:
        sys.exit(said.stderr[-2000:])
    return json.loads(said.stdout.splitlines()[-1])


def prepare(work, root):
    """Pretrains, fine-tunes and probes for a step, and caches the slices."""
    steps = [f"--config.{mode}.num_steps=1" for mode in TRAINING]
    for mode in TRAINING:
        subprocess.run(
            [
                *(sys.executable, str(HERE / "main.py"), f"--mode={mode}"),
                f"--config={HERE}/configs/pix2rep.py:small",
                f"--config.data.root={root}",
                f"--config.data.cache_dir={work / 'cache'}",
                f"--workdir={work / 'run'}",
                *steps,
            ],
            check=True,
            capture_output=True,
            cwd=HERE,
        )


def options_of(mode, work, scan):
    """The options of a mode, which starts anew in each process."""
    if mode == "predict":
        places = (f"--input={scan}", f"--output={work / 'masks'}", "--overwrite")
        return (f"--workdir={work / 'run'}", *places)
    if mode == "evaluate":
        return (f"--workdir={work / 'run'}",)
    shutil.rmtree(work / "new", ignore_errors=True)
    start = "none" if mode == "pretrain" else work / "run"
    return (f"--workdir={work / 'new'}", f"--config.init.checkpoint={start}")


def main() -> None:
    """Measures and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", required=True, type=pathlib.Path, help="ACDC")
    parser.add_argument("--old", type=pathlib.Path, help="another checkout")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.root = arguments.root.resolve()  # each child runs in its own folder
    codes = {"old": arguments.old and arguments.old.resolve(), "new": HERE}
    codes = {name: code for name, code in codes.items() if code}
    scan = sorted(arguments.root.glob("training/*/*_frame*[0-9].nii.gz"))[0]
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        prepare(work, arguments.root)
        for _ in range(arguments.rounds):
            for mode in arguments.modes:
                for name, code in codes.items():
                    programs = work / "programs"
                    shutil.rmtree(programs, ignore_errors=True)
                    for state in ("empty", "warm"):
                        row = measure(
                            code,
                            mode,
                            work=work,
                            programs=programs,
                            root=arguments.root,
                            options=options_of(mode, work, scan),
                        )
                        times.setdefault((mode, state, name), []).append(row)
    print(f"{'mode':9} {'programs':9}{'code':5}" + "".join(f"{x:>10}" for x in STAGES))
    for (mode, state, name), rows in sorted(times.items()):
        middle = {x: statistics.median(row[x] for row in rows) for x in rows[0]}
        cells = "".join(f"{middle[stage]:10.2f}" for stage in STAGES)
        total = sum(middle[stage] for stage in STAGES)
        print(f"{mode:9} {state:9}{name:5}{cells}{total:10.2f} s in all, ", end="")
        print(f"programs: {middle['programs']:.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_child(sys.argv[2], sys.argv[3:])
    main()
