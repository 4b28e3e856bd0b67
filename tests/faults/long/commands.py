"""Whole commands that are killed, stopped by a signal, or meet a full disk."""

import contextlib
import functools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults.long import scene
from tests.faults.long.record import Result
from tests.support.program import ROOT, environment, finish

Case = tuple[str, Callable[[], Result]]

PHASES = (
    ("phantom", r"cache/\.?phantom.*partial"),
    ("scans", r"cache/phantom"),
    ("cache", r"cache/\.?(slices|fingerprint|statistics|detail)"),
    ("checkpoint", r".*/checkpoints"),
    ("evaluation", r".*(evaluation\.json|per_volume\.csv)"),
    ("pictures", r".*/figures/"),
    ("output", r"written/"),
    ("record", r"run/"),
)
"""What a process is at, by the file that it touches; the first that fits counts."""

KILLS = {
    "check": (3, 0),
    "pretrain": (6, 5),
    "probe": (3, 1),
    "finetune": (6, 3),
    "evaluate": (4, 1),
    "predict": (4, 1),
    "embed": (2, 0),
    "export": (1, 0),
    "explore": (1, 0),
    "report": (1, 0),
    "context": (1, 0),
    "figures": (1, 0),
    "folds": (2, 1),
    "study": (2, 1),
}
"""How often each mode is killed: at chosen files, and by the clock. Together 50."""

STOPS = ([signal.SIGINT], [signal.SIGTERM], [signal.SIGINT] * 2, [signal.SIGTERM] * 2)

ALL_STOPS = ("pretrain", "finetune")
"""Modes that get each of `STOPS` at each phase; the others get one, by turns."""

SIZES = {"pretrain": 10, "finetune": 5, "evaluate": 2, "predict": 3}
"""How many sizes of disk each mode meets."""


def kills(work: Path, draw: int) -> Iterator[Case]:
    """Cases in which a process is killed at once, as by the system."""
    for mode, (chosen, timed) in KILLS.items():
        how = {"signals": [signal.SIGKILL]}
        for name, at in _choose(work, mode, chosen, draw=draw):
            call = functools.partial(_stop, work, "kill", mode, at=at, **how)
            yield f"{mode}-{name}", call
        dice = random.Random(f"{mode}{draw or ''}")
        for number in range(timed):
            call = functools.partial(
                _stop, work, "kill", mode, share=dice.random(), **how
            )
            yield f"{mode}-clock-{number}", call


def signals(work: Path, draw: int) -> Iterator[Case]:
    """Cases in which a process is asked to end, once and twice, at each phase."""
    turn = 0
    for mode in scene.MODES:
        for name, at in _choose(work, mode, 1, draw=draw, every=True):
            stops = STOPS if mode in ALL_STOPS else STOPS[turn % 4 :][:1]
            turn += 1
            for each in stops:
                call = functools.partial(
                    _stop, work, "signal", mode, at=at, signals=each
                )
                yield f"{mode}-{name}-{_name(each)}", call
    for each in STOPS:  # in the middle of the steps
        share = random.Random(draw).uniform(0.5, 0.7)
        call = functools.partial(
            _stop, work, "signal", "pretrain", share=share, signals=each
        )
        yield f"pretrain-steps-{_name(each)}", call
    for each in STOPS:
        yield f"imports-{_name(each)}", functools.partial(_stop_imports, each)


def disks(work: Path, draw: int) -> Iterator[Case]:
    """Cases on a file system that is too small, and later large enough."""
    for mode, number in SIZES.items():
        for index in range(number):
            share = (index + random.Random(f"{mode}{index}{draw}").random()) / number
            call = functools.partial(_fill, work, mode, share)
            yield f"{mode}-{index}", call
        chosen = _choose(work, mode, 1, draw=draw, every=True, events=("write",))
        for name, at in chosen:
            call = functools.partial(
                _stop, work, "disk", mode, at=at, signals=[], full=True
            )
            yield f"{mode}-{name}-simulated", call


def _choose(
    work: Path, mode: str, number: int, *, draw: int, every: bool = False, events=()
) -> list[tuple[str, Any]]:
    """Chooses moments of a mode; each draw has its own, the same at each call.

    Args:
        work: The folder of the long form.
        mode: The mode.
        number: How many moments; with `every` of each phase.
        draw: The number of the draw.
        every: Whether each phase has as many.
        events: The events that may be chosen; () for all.
    """
    found: dict[str, list] = {}
    for moment in scene.reference(work, mode).moments:
        phase = next((x for x, path in PHASES if re.match(path, moment[1])), "other")
        if not events or moment[0] in events:
            found.setdefault(phase, []).append(moment)
    dice, chosen = random.Random(f"{mode}{draw or ''}"), []
    wanted = number * len(found) if every else number
    # What is written comes first: the phases are listed from the last one back.
    while len(chosen) < wanted and any(found.values()):
        for phase in list(found)[::-1]:
            if found[phase] and len(chosen) < wanted:
                at = found[phase].pop(dice.randrange(len(found[phase])))
                chosen.append((f"{phase}-{len(chosen)}", at))
    return chosen


def _name(numbers: list[int]) -> str:
    return "-".join(signal.Signals(x).name for x in numbers)


def _stop(work: Path, kind: str, mode: str, *, share=None, **spec) -> Result:
    """Stops a command at a moment, and gives it again."""
    root, known = work / "scenes" / kind, scene.reference(work, mode)
    if share is not None:
        spec["after_s"] = share * known.seconds
    said = f"{spec}"
    scene.prepare(work, mode, root)
    first = scene.run(mode, root, **spec)
    numbers = spec["signals"]
    ends = {
        0,
        *(-x for x in numbers if x != signal.SIGINT),
        *(128 + x for x in numbers),
    }
    if spec.get("full"):
        ends |= {1}
    fault = _fault(first, ends)
    # A signal may come when all is done, and then the same command may be refused.
    if not fault and scene.difference(root, known.end):
        fault = _fault(scene.run(mode, root), {0}) or scene.difference(root, known.end)
    return _result(kind, fault, said)


def _result(kind: str, fault: str, said: str) -> Result:
    """The result of a command that must have ended the same at last."""
    detail = f"{fault} {said}".strip()
    return Result(kind, "", same=not fault, failed=bool(fault), detail=detail)


def _fault(done: subprocess.CompletedProcess, ends: set[int]) -> str:
    """Says what is wrong with the end of a command; "" if nothing is."""
    for said in (done.stdout, done.stderr):
        if "Traceback" in said or "Exception ignored" in said or "bug: " in said:
            return f"a traceback: {said[-600:]}"
    if done.returncode not in ends:
        return f"status {done.returncode}: {done.stderr[-600:]}"
    return ""


def _stop_imports(numbers: list[int]) -> Result:
    """Stops a command while it imports the program, after Python itself has started."""
    fault, shares = "", (0.15, 0.3, 0.5, 0.8)
    words = [sys.executable, str(ROOT / "main.py"), "--help"]
    started = time.monotonic()
    usual = finish(_open(words)).returncode
    seconds = time.monotonic() - started
    for share in shares:
        process = _open(words)
        time.sleep(share * seconds)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.05)
        ends = {usual, *(-x for x in numbers), *(128 + x for x in numbers)}
        fault = fault or _fault(finish(process), ends)
    return _result("signal", fault, "")


def _open(words: list[str]) -> subprocess.Popen:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=pipe, stderr=pipe, text=True
    )


def _fill(work: Path, mode: str, share: float) -> Result:
    """Runs a command on a small file system, then again on a larger one."""
    known, root = scene.reference(work, mode), work / "scenes" / "disk"
    source = work / "scenes" / "disk-source"
    scene.prepare(work, mode, source)
    before = _kilobytes(source)
    size = int(before + share * _needed(work, mode, before))
    with small_disk(root, size) as mounted:
        if not mounted:
            return Result("disk", "", tried=0, detail="nothing can be mounted here")
        shutil.copytree(source, root, dirs_exist_ok=True)
        first = scene.run(mode, root)
        fault = _fault(first, {0, 1})
        subprocess.run(["mount", "-o", "remount,size=1g", str(root)], check=True)
        again = None if fault else scene.run(mode, root)
        fault = fault or _fault(again, {0}) or scene.difference(root, known.end)
    return _result("disk", fault, f"{size} kB")


def _kilobytes(folder: Path) -> int:
    """What a folder takes on a tmpfs, whose pages have 4 kB."""
    sizes = (x.stat().st_size for x in folder.rglob("*") if x.is_file())
    return sum(-(-size // 4096) * 4 for size in sizes) + 64


def _needed(work: Path, mode: str, before: int) -> int:
    """How many kB a mode writes."""
    root = work / "scenes" / "size"
    kept = work / "reference" / f"{mode}.kilobytes"
    if not kept.exists():
        scene.prepare(work, mode, root)
        done = scene.run(mode, root)
        assert done.returncode == 0, done.stderr[-2000:]
        kept.write_text(str(_kilobytes(root) - before))
        shutil.rmtree(root)
    return int(kept.read_text())


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[bool]:
    """A file system of its own size; False where none may be mounted."""
    if os.path.ismount(folder):  # an earlier start was killed
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={kilobytes}k,nr_inodes=20000"
    line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(line, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
