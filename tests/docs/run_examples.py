"""Runs many commands one after the other, and imports jax only once.

python -m tests.docs.run_examples JOBS.json RESULTS.json

Each job is a list of words for main.py, `-m` and a module with its words, or a string
of Python. It runs in a fork of this process, so it finds the imports made and nothing
else: flags, devices and compiled programs are its own.
"""

import importlib
import json
import os
import pathlib
import pkgutil
import runpy
import sys

import pix2rep_jax.modes
import pix2rep_jax.study.command
from tests.support.program import ROOT


def main(jobs, results):
    for module in pkgutil.iter_modules(pix2rep_jax.modes.__path__):
        importlib.import_module(f"pix2rep_jax.modes.{module.name}")
    found = []
    for number, job in enumerate(json.loads(pathlib.Path(jobs).read_text())):
        output = pathlib.Path(f"output{number}.txt")
        process = os.fork()
        if process == 0:
            run(job, output)
        _, status, usage = os.wait4(process, 0)
        print(f"{usage.ru_utime + usage.ru_stime:5.1f} s  {job[:4]}", file=sys.stderr)
        found.append([os.waitstatus_to_exitcode(status), output.read_text()])
    pathlib.Path(results).write_text(json.dumps(found))


def run(job, output):
    """Runs a job in this process, which it ends."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        if isinstance(job, str):
            exec(compile(job, "<example>", "exec"), {"__name__": "example"})
        elif job[0] == "-m":
            sys.argv = job[1:]
            runpy.run_module(job[1], run_name="__main__", alter_sys=True)
        else:
            if "figures" in job:  # most of that mode's time is t-SNE's iterations
                from sklearn.manifold import TSNE

                TSNE.__init__.__kwdefaults__["max_iter"] = 250
            sys.argv = [str(ROOT / "main.py"), *job[1:]]
            runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
