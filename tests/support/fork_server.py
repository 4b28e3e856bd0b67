"""Runs main.py many times, and imports jax only once.

`python -m tests.support.fork_server` imports the program and waits for jobs: lines of
JSON on its standard input. Each job runs in a fork, so it finds the imports made and
nothing else: flags, devices, signals and compiled programs are its own.
"""

import atexit
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class ForkServer:
    """The server as a test sees it."""

    def __init__(self, environment):
        self.environment = environment
        self._statuses = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def start(self, words, environment):
        """Starts main.py with these words, the first of which is its path."""
        folder = tempfile.TemporaryDirectory()
        job = {"words": words, "environment": environment, "folder": folder.name}
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        while (pid := self._statuses.pop("started", None)) is None:
            self._read()
        self._statuses.pop(pid, None)  # of an earlier job with the same number
        return ForkedProcess(self, pid, words, folder)

    def status(self, pid, timeout=0.0):
        """Waits for the end of a job; None if it is still running."""
        deadline = time.monotonic() + timeout
        while pid not in self._statuses:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                return None
            self._read()
        return self._statuses[pid]

    def close(self):
        """Ends the server, and waits for it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _read(self):
        line = self._process.stdout.readline()
        assert line, "the fork server has ended"
        pid, status = json.loads(line)
        if status is None:
            self._statuses["started"] = pid
        else:
            self._statuses[pid] = status


class ForkedProcess:
    """A job under way, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, server, pid, words, folder):
        self.args, self.pid = words, pid
        self.returncode = None
        self._server, self._folder = server, folder

    def poll(self, timeout=0.0):
        if self.returncode is None:
            self.returncode = self._server.status(self.pid, timeout)
        return self.returncode

    def communicate(self, timeout):
        """Waits for the end; returns standard output and error."""
        if self.poll(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        folder = Path(self._folder.name)
        said = [(folder / name).read_text("utf-8") for name in ("stdout", "stderr")]
        return said

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Ends it if it still runs, and removes what it has said."""
        self.send_signal(signal.SIGKILL)
        self.poll(timeout=60)
        self._folder.cleanup()


def serve():
    """Starts jobs and reports their ends until the standard input ends."""
    import_program()
    children = set()
    while True:
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children.remove(pid)
                print(json.dumps([pid, os.waitstatus_to_exitcode(status)]), flush=True)
        if not select.select([0], [], [], 0.02 if children else None)[0]:
            continue
        line = read_line()
        if not line:
            break
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(job)
        children.add(pid)
        print(json.dumps([pid, None]), flush=True)


def import_program():
    """Imports what main.py imports, and the modes, which it imports late."""
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
    import pix2rep_jax.cli.program
    import pix2rep_jax.modes

    for module in pkgutil.iter_modules(pix2rep_jax.modes.__path__):
        importlib.import_module(f"pix2rep_jax.modes.{module.name}")
    for module, _ in pix2rep_jax.cli.program.MODES.values():
        importlib.import_module(module)


def read_line():
    """Reads one line of the standard input, and nothing of the next."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return line


def run(job):
    """Runs a job in this process, which it ends."""
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            path = os.path.join(job["folder"], name)
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
        os.environ.clear()
        os.environ.update(job["environment"])
        # Without this, main.py would start anew to ask for huge pages.
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=0"
        sys.argv = job["words"]
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
