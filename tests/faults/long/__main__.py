"""All fault tests in their long form, case by case.

python -m tests.faults.long [--folder runs/faults] [--draw 1] [--only kill,signal]
python -m tests.faults.long [--folder runs/faults] --table | --write

Each case's result is a line in FOLDER/cases.csv. A started command goes on after the
last line; delete the file to begin anew. `--draw` takes other moments and inputs. Each
kind has a process of its own, and two run at a time. The exit status is 1 if a case has
failed. `--table` prints the summary. `--write` publishes it in results/faults.csv and
docs/explanation/reliability.md, beside what is there of other kinds and draws.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.csv_file import put_table
from tests.faults.long import record
from tests.faults.long.record import Result
from tests.support.program import ROOT, environment

LONGEST_S = 900
"""A case that takes longer hangs."""

FILE = ROOT / "results" / "faults.csv"
PAGE = ROOT / "docs" / "explanation" / "reliability.md"
MARK = "<!-- faults -->\n"


def list_cases(kind: str, work: Path, draw: int) -> Iterator:
    """Yields the cases of a kind: a name, and a function that returns a result."""
    if kind in ("kill", "signal", "disk"):
        from tests.faults.long import commands

        lists = {"kill": commands.kills, "signal": commands.signals}
        return lists.get(kind, commands.disks)(work, draw)
    if kind == "file":
        from tests.faults.long import files

        return files.cases(work, draw)
    from tests.faults.long import drawn

    return drawn.cases(kind, work, draw)


def run_kind(kind: str, work: Path, *, draw: int, most: int) -> None:
    """Runs what is left of a kind's cases."""
    path = work / "cases.csv"
    own = [each for each in record.read(path) if (each.kind, each.draw) == (kind, draw)]
    done = {each.case for each in own}
    cases = list(list_cases(kind, work, draw))
    if most and len(cases) > most:
        cases = random.Random(0).sample(cases, most)
    signal.signal(signal.SIGALRM, _hang)
    for index, (name, call) in enumerate(cases):
        if name in done:
            continue
        started = time.monotonic()
        signal.alarm(LONGEST_S)
        try:
            result = call()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"[:600]
            result = Result(kind, name, failed=1, detail=said)
        finally:
            signal.alarm(0)
        seconds = time.monotonic() - started
        result = result._replace(kind=kind, case=name, seconds=seconds, draw=draw)
        record.append(path, result)
        mark = "FAILED" if result.failed else "ok"
        print(
            f"{kind} {index + 1}/{len(cases)} {name}: {mark}, {seconds:.0f} s",
            result.detail if result.failed else "",
            flush=True,
        )


def _hang(*_) -> None:
    raise TimeoutError(f"it takes more than {LONGEST_S} s")


def run_all(kinds: list[str], options: list[str], jobs: int) -> None:
    """Runs each kind in a process of its own, some at a time."""
    waiting, running = list(kinds), []
    while waiting or running:
        if waiting and len(running) < jobs:
            words = ["-m", "tests.faults.long", "--only", waiting.pop(0), *options]
            running.append(subprocess.Popen([sys.executable, *words], cwd=ROOT))
        time.sleep(0.2)
        running = [each for each in running if each.poll() is None]


def publish(results: list[Result]) -> None:
    """Writes the file of results, without places on this machine, and the table.

    What was published of other kinds and draws stays.
    """
    new = {(each.kind, each.draw) for each in results}
    others = [x for x in record.read(FILE) if (x.kind, x.draw) not in new]
    FILE.unlink(missing_ok=True)
    for each in (*others, *results):
        record.append(FILE, each._replace(detail=""))
    put_table(PAGE, MARK, record.table(record.read(FILE)))


def main() -> int:
    """Reads the command line, and runs what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/faults"))
    parser.add_argument("--only", default=",".join(record.TITLES))
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--most", type=int, default=0, help="cases of each kind")
    parser.add_argument("--jobs", type=int, default=2, help="kinds at a time")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    work = given.folder.resolve()
    if given.table or given.write:
        results = record.read(work / "cases.csv")
        print(record.table(results))
        if given.write:
            publish(results)
        return 0
    # A shell lets what it starts in the background ignore SIGINT, and so would the
    # commands.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    (work / "scenes").mkdir(parents=True, exist_ok=True)
    # One cache of compiled programs for all scenes.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(work / "programs"))
    os.environ.update(environment())  # in this process as in the commands
    os.environ["NPROC"] = "1"  # the number of threads decides the last digits
    kinds = given.only.split(",")
    if len(kinds) == 1:
        run_kind(kinds[0], work, draw=given.draw, most=given.most)
        return 0
    options = ["--folder", str(work), "--most", str(given.most)]
    options += ["--draw", str(given.draw)]
    run_all(kinds, options, given.jobs)
    results = record.read(work / "cases.csv")
    print(record.table(results))
    return int(any(each.failed for each in results))


if __name__ == "__main__":
    sys.exit(main())
