"""Headers, folders and command lines that hypothesis draws, some hundred at a time."""

import collections
import contextlib
import functools
import logging
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from pix2rep_jax.errors import explain
from tests.faults.long.record import Result

NUMBERS = {"header": 10_000, "tree": 2_000, "words": 5_000}
"""How many of each kind are tried."""

CHUNK = {"header": 250, "tree": 50, "words": 125}
"""How many make one case, whose seed is its number. Each draw goes on with others."""

NETWORK = 5
"""Cases of headers and of folders that go through a real network."""

LONGEST_S = 10
MOST_KB = 2**20

QUIET = dict(
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    report_multiple_bugs=False,
)
"""Settings of hypothesis: it keeps no files here, and is not in a hurry."""


def cases(
    kind: str, work: Path, draw: int
) -> Iterator[tuple[str, Callable[[], Result]]]:
    """The chunks of a kind, and what goes through a real network."""
    drawing, check = load(kind)
    place = work / "scenes" / kind
    place.mkdir(exist_ok=True)
    chunks = NUMBERS[kind] // CHUNK[kind]
    for number in range(draw * chunks, (draw + 1) * chunks):
        call = functools.partial(
            _chunk, drawing, functools.partial(check, place), CHUNK[kind], number
        )
        yield f"seed-{number}", call
    if kind == "words":
        return
    from tests.faults.long import real

    for number in range(draw * NETWORK, (draw + 1) * NETWORK):
        call = functools.partial(getattr(real, kind), work, drawing, number)
        yield f"network-{number}", call


def load(kind: str) -> tuple[Any, Callable[[Path, Any], bool]]:
    """How a kind is drawn, and what is checked: whether an input was accepted."""
    if kind == "header":
        from tests.faults.long import headers as module
    elif kind == "tree":
        from tests.faults.long import trees as module
    else:
        from tests.faults.long import command_lines as module
    return module.drawing(), module.check


def is_refused(error: BaseException) -> bool:
    """Whether an error is one sentence for the user, and not for want of memory."""
    return not isinstance(error, MemoryError) and explain(error) is not None


@contextlib.contextmanager
def in_time(seconds: float = LONGEST_S) -> Iterator[None]:
    """Raises TimeoutError where a block takes longer."""

    def stop(*_) -> None:
        raise TimeoutError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _chunk(drawing, check: Callable[[Any], bool], number: int, start: int) -> Result:
    """Tries some inputs. A failure is made as small as possible, and told."""
    found: collections.Counter = collections.Counter()

    @seed(start)
    @settings(max_examples=number, phases=(Phase.generate, Phase.shrink), **QUIET)
    @given(drawing)
    def trial(drawn) -> None:
        found["tried"] += 1
        with in_time():
            found["same" if check(drawn) else "sentence"] += 1

    detail = ""
    _limit_memory()
    logging.disable(logging.CRITICAL)  # notes on each of them
    try:
        trial()
    except Exception as error:
        notes = " ".join(getattr(error, "__notes__", ()))
        last = traceback.extract_tb(error.__traceback__)[-1]
        notes = f"{last.filename}:{last.lineno} {notes}"
        detail = f"{type(error).__name__}: {error}; {notes}"[:3000]
        found["failed"] += 1
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if most > MOST_KB:
        detail, found["failed"] = f"{most} kB of memory; {detail}", 1
    return Result("", "", detail=detail, **{"tried": 0, **found})


@functools.cache
def _limit_memory() -> None:
    """Lets this process have 1 GiB more than it has now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (now,) = (int(x.split()[1]) for x in lines if x.startswith("VmData"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, ((now + MOST_KB) * 1024, hard))


def first_accepted(drawing, check: Callable[[Any], bool], number: int) -> Any:
    """Draws until so many inputs were accepted, and returns the last of them."""
    accepted: list[Any] = []

    class EnoughError(Exception):
        pass

    @seed(number)
    @settings(max_examples=1000, phases=(Phase.generate,), **QUIET)
    @given(drawing)
    def trial(drawn) -> None:
        if check(drawn):
            accepted.append(drawn)
            if len(accepted) > number:
                raise EnoughError

    with contextlib.suppress(EnoughError):
        trial()
    return accepted[-1]
