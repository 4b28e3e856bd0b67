"""The modes as functions, for notebooks and scripts.

Each function does what the command line does: the same checks, the same guesses about
the scans, the same files. They share these arguments:

- `run`: a workdir, the folder of a mode in it, or what a function has returned.
- `scans`: a scan, or a folder that is searched with its subfolders.
- `out`: where to write. `overwrite` says whether what is there is replaced.
- `anonymise`: whether numbers stand for the scans' names. Images of patients remain.
- `**settings`: settings by their names on the command line, with `__` for each dot.
  `--config.data.num_labeled=3` is `data__num_labeled=3`.

A mistake of the caller raises `InputError`, whose sentence says how to mend it.
"""

from pix2rep_jax.api.learned import embed, explore, export, report
from pix2rep_jax.api.masks import evaluate, predict
from pix2rep_jax.api.run import Run
from pix2rep_jax.api.training import finetune, pretrain, probe

__all__ = [
    "Run",
    "embed",
    "evaluate",
    "explore",
    "export",
    "finetune",
    "predict",
    "pretrain",
    "probe",
    "report",
]
