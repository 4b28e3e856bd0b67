"""What comes before every mode, from a command line and from Python alike."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from pix2rep_jax.cli.complete import complete, told_names
from pix2rep_jax.cli.config_file import split_words
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes.setting_notes import setting_notes
from pix2rep_jax.modes.settings import CHECKS, check_settings
from pix2rep_jax.runtime.compiler import cache_programs
from pix2rep_jax.runtime.home import check_homes, check_utf8
from pix2rep_jax.wording import for_caller

__all__ = ["check", "prepare"]

_FIRST_DATE_S = 10 * 365.25 * 24 * 3600
"""The beginning of 1980, s since 1970."""


def check(config: ConfigDict, places: Mapping[str, str | None]) -> None:
    """Checks a configuration as it was given, and splits its lists of words.

    Args:
        config: The whole configuration, which is changed.
        places: Files and folders that were given besides, by their flags.

    Raises:
        InputError: If a setting is missing, if a value or a path makes no sense, or if
            the machine's clock does.
    """
    check_clock()
    checks = dict(CHECKS)
    if "study" in config:
        from pix2rep_jax.study.jobs import SETTINGS

        checks |= {f"study.{name}": check for name, check in SETTINGS.items()}
    split_words(config, checks)
    check_settings(config)
    data, init = config.data, config.init
    settings = {
        "data.root": data.root,
        "data.cache_dir": data.cache_dir,
        "init.checkpoint": init.checkpoint,
    }
    check_homes({**places, **settings})


def prepare(
    config: ConfigDict, workdir: Path, mode: str, *, command: Sequence[str]
) -> None:
    """Settles what a command leaves open, and says where compiled programs are kept.

    Args:
        config: The whole configuration, which is changed.
        workdir: The run's folder.
        mode: The mode that is to run.
        command: The words of the command line.

    Raises:
        InputError: If a run or the folder of the scans cannot be used, or if a value
            that was settled makes no sense. Also if a study has no plan.
    """
    if mode == "study" and "study" not in config:
        raise InputError(
            "--mode study needs a plan, which the configuration lacks: use --config "
            "configs/study.py"
        )
    check_utf8(workdir, "--workdir")
    cache_programs(Path(config.data.cache_dir).expanduser() / "programs")
    complete(config, workdir, mode, command=command)
    check_settings(config)
    for note in setting_notes(config, mode, told=told_names(command)):
        print(for_caller(note), file=sys.stderr)


def check_clock() -> None:
    """Checks that the machine's date can be written into files.

    Raises:
        InputError: If it lies before 1980, the first year that archives know.
            Checkpoints know 1970. A training would fail at its end.
    """
    if time.time() < _FIRST_DATE_S:
        raise InputError(
            "this machine's clock stands before 1980, which files cannot record: set "
            "the date, and start the same command again"
        )
