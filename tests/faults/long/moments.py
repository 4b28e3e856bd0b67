"""main.py, to which something happens at one moment of its way.

`python tests/faults/long/moments.py SPEC WORDS...` runs main.py with these words. SPEC
is JSON:

- `root`: only files under this folder count.
- `record`: a file, to which each moment is written: what happens to which file.
- `at`: such a moment with its number, `[event, path, number]`; the first is 1.
- `after_s`: a moment by the clock, s after the start, in place of `at`.
- `signals`: the numbers of the signals that the process then sends itself.
- `full`: whether the disk is full from then on; its files cannot be written.
"""

import collections
import errno
import json
import os
import re
import runpy
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_CHANCE = (
    (r"\.[0-9a-f]{8}-\d+-[0-9a-f]{8}", ".TAG"),
    (r"[0-9a-f]{24,}", "HASH"),
    (r"tfevents\..*", "tfevents"),
    (r"/tmp[a-z0-9_]{8}$", "/tmpNAME"),
)
"""The parts of paths that differ between two runs."""

_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def name_moment(event: str, arguments: tuple, root: str) -> tuple[str, str] | None:
    """Names what happens to a file under `root`; None for anything else."""
    if event not in _EVENTS or not isinstance(arguments[0], str | bytes):
        return None
    path = os.fsdecode(arguments[0])
    if not path.startswith(root) or "/programs/" in path:
        return None
    if event == "open":
        event = "write" if arguments[2] & _WRITES else "read"
    path = path[len(root) :]
    for pattern, name in _CHANCE:
        path = re.sub(pattern, name, path)
    return event, path


def watch(spec: dict) -> None:
    """Installs the hook that records the moments, or acts at one of them."""
    seen: collections.Counter = collections.Counter()
    root = os.path.join(spec["root"], "")
    wanted = tuple(spec["at"]) if spec.get("at") else None
    record = None
    if spec.get("record"):
        record = os.open(spec["record"], os.O_WRONLY | os.O_CREAT)
    full = False

    def hook(event: str, arguments: tuple) -> None:
        nonlocal full
        if event not in _EVENTS:
            return
        moment = name_moment(event, arguments, root)
        if moment is None:
            return
        seen[moment] += 1
        numbered = (*moment, seen[moment])
        if record is not None:
            os.write(record, (json.dumps(numbered) + "\n").encode())
        if numbered == wanted:
            send(spec.get("signals", ()))
            full = bool(spec.get("full"))
        if full and moment[0] in ("write", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])

    sys.addaudithook(hook)
    if spec.get("after_s") is not None:
        timer = threading.Timer(spec["after_s"], send, (spec["signals"],))
        timer.daemon = True
        timer.start()


def send(signals: list[int]) -> None:
    """Sends this process a signal at once, and the others after a moment each."""
    for index, number in enumerate(signals[1:], start=1):
        later = threading.Timer(0.1 * index, os.kill, (os.getpid(), number))
        later.daemon = True
        later.start()
    for number in signals[:1]:
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.argv = [str(ROOT / "main.py"), *sys.argv[2:]]
    watch(given)
    runpy.run_path(sys.argv[0], run_name="__main__")
