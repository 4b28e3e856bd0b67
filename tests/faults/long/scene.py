"""A folder in which a mode runs as a command, and what the mode has left at its end."""

import contextlib
import csv
import dataclasses
import fcntl
import hashlib
import io
import json
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.support.program import (
    ROOT,
    command,
    environment,
    finish,
    fork_server,
)

MOMENTS = str(ROOT / "tests" / "faults" / "long" / "moments.py")

TRAINED = ("pretrain", "finetune")


@dataclasses.dataclass(frozen=True)
class Mode:
    """How a mode is started.

    Attributes:
        needs: The modes that must have run before in the same folder.
        flags: Its words besides the settings; {root} is the scene's folder.
        settings: Its settings besides `program.TINY`, with `__` for each dot.
        config: The configuration's file.
    """

    needs: tuple[str, ...] = TRAINED
    flags: tuple[str, ...] = ()
    settings: dict = dataclasses.field(default_factory=dict)
    config: str = "pix2rep"


_PATHS = ("--input={root}/cache/PHANTOM/testing", "--output={root}/written")
_FOLDS = {"data__folds": 2, "pretrain__num_steps": 4, "finetune__num_steps": 2}
_STUDY = {"study__methods": "baseline,proposed_probe", "study__labeled": "1,"}
_STUDY |= {"study__draws": 1, "study__resamples": 20, "study__figure3": "()"}
_STUDY |= {"pretrain__num_steps": 4, "data__crop": "center"}

MODES = {
    "check": Mode(needs=()),
    "pretrain": Mode(needs=(), settings={"log__checkpoint_every": 4}),
    "probe": Mode(needs=("pretrain",)),
    "finetune": Mode(needs=("pretrain",)),
    "evaluate": Mode(),
    "predict": Mode(flags=(*_PATHS, "--probabilities")),
    "embed": Mode(flags=_PATHS),
    "export": Mode(flags=("--output={root}/written/network",)),
    "explore": Mode(flags=(_PATHS[0], "--output={root}/written/page.html")),
    "report": Mode(),
    "context": Mode(),
    "figures": Mode(),
    "folds": Mode(needs=(), settings=_FOLDS),
    "study": Mode(needs=(), settings=_STUDY, config="study"),
}

PHANTOM = "phantom-seed0-5-2"


def words(mode: str, root: Path) -> list[str]:
    """The command line of a mode in a scene, python and main.py first."""
    how = MODES[mode]
    flags = (each.format(root=root) for each in how.flags)
    flags = (each.replace("PHANTOM", PHANTOM) for each in flags)
    return command(
        mode, root / "run", root / "cache", *flags, config=how.config, **how.settings
    )


def run(mode: str, root: Path, **spec):
    """Runs a mode, perhaps with something that happens to it: see `moments`."""
    line = words(mode, root)
    if spec:
        given = json.dumps({"root": str(root), **spec})
        line = [sys.executable, MOMENTS, given, *line[2:]]
    return finish(fork_server().start(line[1:], environment()))


def prepare(work: Path, mode: str, root: Path) -> None:
    """Makes a scene in which a mode can start."""
    shutil.rmtree(root, ignore_errors=True)
    base = work / "base"
    (root / "run").mkdir(parents=True)
    for each in MODES[mode].needs:
        shutil.copytree(base / "run" / each, root / "run" / each)
    if MODES[mode].needs:
        shutil.copytree(base / "cache", root / "cache")


@contextlib.contextmanager
def alone(work: Path) -> Iterator[None]:
    """Lets other processes wait that would make the same folder."""
    with open(work / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_base(work: Path) -> None:
    """Pretrains and fine-tunes once: the other modes start from copies of it."""
    base = work / "base"
    if (base / "done").exists():
        return
    shutil.rmtree(base, ignore_errors=True)
    for mode in TRAINED:
        done = run(mode, base)
        assert done.returncode == 0, done.stderr[-2000:]
    (base / "done").touch()


class Reference(NamedTuple):
    """A mode that ran to its end without a fault.

    Attributes:
        moments: All moments, as `moments` records them.
        end: What `ending` finds.
        seconds: How long it took.
    """

    moments: list[tuple[str, str, int]]
    end: dict[str, str]
    seconds: float


def reference(work: Path, mode: str) -> Reference:
    """Runs a mode to its end without a fault, once."""
    kept = work / "reference" / f"{mode}.json"
    if not kept.exists():
        with alone(work):
            _make_reference(work, mode, kept)
    moments, end, seconds = json.loads(kept.read_text())
    return Reference([tuple(each) for each in moments], end, seconds)


def _make_reference(work: Path, mode: str, kept: Path) -> None:
    """Runs a mode, unless another process has done so by now."""
    if not kept.exists():
        make_base(work)
        kept.parent.mkdir(exist_ok=True)
        root, record = work / "scenes" / f"reference-{mode}", kept.with_suffix(".part")
        prepare(work, mode, root)
        record.unlink(missing_ok=True)
        started = time.monotonic()
        done = run(mode, root, record=str(record))
        seconds = time.monotonic() - started
        assert done.returncode == 0, done.stderr[-2000:]
        moments = [json.loads(x) for x in record.read_text().splitlines()]
        kept.write_text(json.dumps([moments, ending(root), seconds]))
        shutil.rmtree(root)


_UNLIKE = re.compile(
    r"(^|/)(lock|\.lock|broken-.*|events\.out[^/]*|programs/.*|[^/]*\.log|output\.txt)$"
)
"""Files that say when a run was or what it printed, and what was set aside."""

_TIMES = {"steps_per_second", "seconds", "ended", "command", "environment"}
_TIMES |= {"seal", "sha256", "made_for"}
_HASHES = re.compile(r"(slices|statistics|fingerprint|detail)-[0-9a-f]{24}")
"""Names of the caches depend on the place and the date of the scans."""


UNREADABLE = "unreadable"


def ending(root: Path) -> dict[str, str]:
    """Says of every file that counts what it holds: parameters, scores, metrics.

    Args:
        root: The scene.

    Returns:
        Digests by the files' names; times and places are left out of what is digested.
        A state is digested whole, by its checkpoint's step.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        name = _HASHES.sub(r"\1", path.relative_to(root).as_posix())
        if not path.is_file() or _UNLIKE.search(name):
            continue
        if "/checkpoints/" in name:
            if path.name == "_METADATA":
                try:
                    found[name] = _state(path.parent)
                except Exception:  # Orbax raises what its layers below raise
                    found[name] = UNREADABLE
            continue
        try:
            digest = hashlib.sha256(_content(path, root)).hexdigest()[:16]
        except (EOFError, ValueError, zipfile.BadZipFile):
            digest = UNREADABLE  # a cache of other scans, which nobody has to read
        # Several caches have one name here, in no order.
        found[name] = " ".join(sorted({digest, *found.get(name, "").split()}))
    return found


def _state(folder: Path) -> str:
    """Digests every array of a checkpoint."""
    import jax

    from pix2rep_jax.runs.checkpoint_reader import _read, describe_arrays
    from pix2rep_jax.runs.checkpoint_steps import quiet

    with quiet():
        state = _read(folder, tuple(describe_arrays(folder)))
    digest = hashlib.sha256()
    for place, leaf in jax.tree_util.tree_leaves_with_path(state):
        digest.update(jax.tree_util.keystr(place).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def _content(path: Path, root: Path) -> bytes:
    """What a file says, apart from times and places."""
    content = path.read_bytes()
    if path.name == "metrics.jsonl":
        from pix2rep_jax.runs.metric_log import read_metrics

        series = read_metrics(path)
        series.pop("steps_per_second", None)
        return repr(sorted(series.items())).encode()
    if path.suffix == ".json":
        plain = content.decode().replace(str(root), "ROOT")
        # Where a run is written anew it tells where its copy is, and not the first one.
        plain = plain.replace(str(root.parents[1] / "base"), "ROOT")
        return repr(_without_times(json.loads(plain))).encode()
    if path.suffix in (".npz", ".npy") and not path.name.startswith("."):
        with np.load(path) as file:
            # Its own name, which a cache holds, depends on the scene's place.
            named = {name: file[name] for name in file.files if name != "name"}
        for name, array in named.items():
            if array.dtype.kind == "U":
                named[name] = array.tolist().replace(str(root), "ROOT")
        whole = [
            (x, y if isinstance(y, str) else y.tobytes()) for x, y in named.items()
        ]
        return repr(sorted(whole, key=lambda each: each[0])).encode()
    if path.name == "study.csv":
        lines = csv.DictReader(io.StringIO(content.decode()))
        return repr([_without_times(line) for line in lines]).encode()
    if path.suffix in (".csv", ".md", ".txt", ".html"):
        plain = content.decode().replace(str(root), "ROOT")
        return re.sub(r"\b\d+((\.\d+)? ?(s|min|h)|(:\d\d)+)\b", "TIME", plain).encode()
    if path.suffix == ".safetensors":  # its notes say when and where the run was
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        return repr(header).encode() + content[start:]
    if path.suffix == ".pdf":
        return re.sub(rb"/(CreationDate|ID).*", b"", content)
    return content


def _without_times(content):
    """Removes what says when or where from what JSON holds."""
    if isinstance(content, dict):
        left = {
            name: part
            for name, part in content.items()
            if name not in _TIMES and "seconds" not in name
        }
        return {name: _without_times(part) for name, part in left.items()}
    if isinstance(content, list):
        return [_without_times(each) for each in content]
    return content


def difference(root: Path, end: dict[str, str]) -> str:
    """Names the first file in which a scene differs from an ending; "" if none does.

    A run that was stopped has saved a step more. That may have taken the place of an
    older one, so the newest checkpoint counts, and those that both have.
    """
    own = ending(root)
    names = [x for x in sorted({*own, *end}) if own.get(x) != end.get(x)]
    newest = {*_newest_checkpoints(own), *_newest_checkpoints(end)}
    names = [
        x
        for x in names
        if "/checkpoints/" not in x or x in newest or (x in own and x in end)
    ]
    first = ", ".join(names[:3])
    return f"{len(names)} file(s) differ: {first}" if names else ""


def _newest_checkpoints(end: dict[str, str]) -> list[str]:
    """Names the newest checkpoint of each run."""
    newest: dict[str, tuple[int, str]] = {}
    for name in end:
        run, is_checkpoint, rest = name.partition("/checkpoints/")
        step = rest.partition("/")[0]
        if is_checkpoint and step.isdigit():
            newest[run] = max(newest.get(run, (-1, "")), (int(step), name))
    return [name for _, name in newest.values()]
