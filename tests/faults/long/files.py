"""Every file of a run and of the caches, damaged in each of six ways.

The modes run in this process, so that all cases share compiled programs.
"""

import contextlib
import functools
import io
import logging
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults.long import scene
from tests.faults.long.record import Result
from tests.support.program import TINY

DAMAGES = ("truncated", "empty", "zeroed", "flipped", "deleted", "folder")


def damage(path: Path, how: str, *, share: float = 0.5) -> None:
    """Damages a file.

    Args:
        path: The file.
        how: One of `DAMAGES`. "flipped" changes one bit, "truncated" cuts the rest off.
        share: Where in the file.
    """
    content = path.read_bytes()
    if how in ("deleted", "folder"):
        path.unlink()
        if how == "folder":
            path.mkdir()
        return
    place = int(share * len(content))
    flipped = bytearray(content)
    if content:
        flipped[place] ^= 4
    changed = {
        "truncated": content[:place],
        "empty": b"",
        "zeroed": bytes(len(content)),
        "flipped": bytes(flipped),
    }
    path.write_bytes(changed[how])


def cases(work: Path, draw: int) -> Iterator[tuple[str, Callable[[], Result]]]:
    """Each file of each scene, with each damage; each draw has its own place."""
    for name in SCENES:
        for file in _files(work, name):
            for how in DAMAGES:
                share = random.Random(f"{name}{file}{draw}").random()
                call = functools.partial(_try, work, name, file, how, share)
                yield f"{name}/{file}/{how}", call


def _run(mode: str, root: Path) -> None:
    """Runs a mode in this process, as a notebook does."""
    import pix2rep_jax

    settings = {name.replace(".", "__"): value for name, value in TINY.items()}
    settings |= {"data__cache_dir": str(root / "cache")}
    settings |= scene.MODES[mode].settings
    if mode == "predict":
        scans = root / "cache" / scene.PHANTOM / "testing"
        pix2rep_jax.predict(root / "run", scans, root / "written")
    elif mode == "evaluate":
        pix2rep_jax.evaluate(root / "run", **settings)
    else:
        getattr(pix2rep_jax, mode)(out=root / "run", size="quick", **settings)


def _half(work: Path, root: Path) -> None:
    """A pretraining that was killed after its second but last checkpoint."""
    scene.prepare(work, "pretrain", root)
    # The sixth of six is written next.
    path = "run/pretrain/checkpoints/20.orbax-checkpoint-tmp"
    at = ["os.mkdir", path, 1]
    done = scene.run("pretrain", root, at=at, signals=[signal.SIGKILL])
    assert done.returncode == -signal.SIGKILL, done.stderr[-1000:]


def _finished(work: Path, root: Path) -> None:
    """Runs that have ended, and caches of all kinds."""
    scene.prepare(work, "evaluate", root)


SCENES: dict[str, tuple[Callable[[Path, Path], None], str, tuple[str, ...]]] = {
    "half": (_half, "run/pretrain", ("pretrain",)),
    "finished": (_finished, "run/finetune", ("finetune", "evaluate", "predict")),
    "start": (_finished, "run/pretrain", ("pretrain", "probe")),
    "cache": (_finished, "cache", ("evaluate",)),
}
"""How each scene is made, whose files are damaged, and the modes that then run."""


def _copy(work: Path, name: str) -> Path:
    """Makes a scene anew from a copy of it that is kept."""
    make, _, _ = SCENES[name]
    kept, root = work / "scenes" / f"kept-{name}", work / "scenes" / "file"
    if not (kept / "done").exists():
        with scene.alone(work):
            scene.make_base(work)
        shutil.rmtree(root, ignore_errors=True)
        make(work, root)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(root, kept)
        if name != "half":  # caches of every kind are there then
            shutil.rmtree(root)
            shutil.copytree(kept, root)
            _quietly(lambda: [_run(mode, root) for mode in SCENES[name][2]])
            shutil.copytree(root / "cache", kept / "cache", dirs_exist_ok=True)
        (kept / "done").touch()
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(kept, root)
    (root / "done").unlink()
    return root


def _files(work: Path, name: str) -> list[str]:
    """The files of a scene that are damaged."""
    root = _copy(work, name)
    place = root / SCENES[name][1]
    found = [x.relative_to(root).as_posix() for x in place.rglob("*") if x.is_file()]
    return sorted(x for x in found if "events.out" not in x and "phantom" not in x)


def _try(work: Path, name: str, file: str, how: str, share: float) -> Result:
    """Damages a file, and lets the modes run that read it."""
    known = _ending(work, name)
    root = _copy(work, name)
    damage(root / file, how, share=share)
    modes = SCENES[name][2]
    sentence = fault = ""
    error: Exception | None = None
    for mode in modes:
        said, error = _quietly(functools.partial(_run, mode, root))
        if "Traceback" in said or "Exception ignored" in said:
            place = max(0, said.find("Traceback") - 200)
            fault = fault or f"{mode}: {said[place : place + 900]}"
        if error is not None:
            from pix2rep_jax.errors import explain

            sentence = explain(error) or ""
            if not sentence:
                fault = fault or f"{mode}: {type(error).__name__}: {error}"[:400]
            break
        if "/broken-" in said or "is now broken-" in said:
            sentence = "a checkpoint was set aside"
    if not fault and error is None:
        other = _other_numbers(root, file, known)
        if name == "half" or not sentence:  # of a finished run the best is lost
            fault = other
        if not other:
            sentence = ""
    return Result(
        "file",
        "",
        same=not fault and not sentence,
        sentence=bool(sentence) and not fault,
        failed=bool(fault),
        detail=fault or sentence[:200],
    )


def _other_numbers(root: Path, file: str, known: dict[str, str]) -> str:
    """Names what differs from an ending, apart from the damaged file itself."""
    own = scene._HASHES.sub(r"\1", file)
    found = scene.ending(root)
    names = {x for x in {*found, *known} if found.get(x) != known.get(x)}
    # An older checkpoint that nobody had to read is still damaged.
    if step := re.match(r".*/checkpoints/\d+/", file):
        names -= {
            x
            for x in names
            if x.startswith(step[0]) and found.get(x) == scene.UNREADABLE
        }
    # A log that somebody has damaged stays as it is; what was saved counts.
    names = {x for x in names if x != own and not x.startswith(f"{own}/")}
    return (
        f"{len(names)} file(s) differ: {', '.join(sorted(names)[:3])}" if names else ""
    )


@functools.cache
def _ending(work: Path, name: str) -> dict[str, str]:
    """What the same modes leave where nothing is damaged."""
    root = _copy(work, name)
    for mode in SCENES[name][2]:
        said, error = _quietly(functools.partial(_run, mode, root))
        assert error is None, (said, error)
    return scene.ending(root)


def _quietly(call: Callable[[], Any]) -> tuple[str, Exception | None]:
    """Calls a function; returns what it says, and what it raises."""
    said, error = io.StringIO(), None
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            call()
    except Exception as raised:
        error = raised
    finally:
        logging.getLogger().removeHandler(handler)
    return said.getvalue(), error
