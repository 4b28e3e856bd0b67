"""What a report calls patients, scans and folders, and the commands that it lists."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.inference.anonymous_scan import anonymous_names
from pix2rep_jax.modes.reported_runs import ReportedRun
from pix2rep_jax.page.document import code, section
from pix2rep_jax.runs.remembered import TRAINING
from pix2rep_jax.runtime.command_line import next_command

__all__ = ["Names", "baseline_command", "command_part"]


class Names:
    """What patients, scans and folders are called: by name, or by number."""

    def __init__(self, patients: Sequence[str], *, hidden: bool) -> None:
        """Numbers the patients in the order of their names.

        Args:
            patients: All patients of the runs.
            hidden: Whether numbers stand for the names.
        """
        self.hidden, known = hidden, sorted(set(patients))
        numbers = [x.replace("scan", "patient") for x in anonymous_names(len(known))]
        self._shown = dict(zip(known, numbers if hidden else known, strict=True))

    def patient(self, name: str) -> str:
        """Names a patient."""
        return self._shown.get(name, "a patient" if self.hidden else name)

    def scan(self, record: VolumeFile) -> str:
        """Names a scan."""
        if not self.hidden:
            return record.volume_id
        return f"{self.patient(record.patient)} {record.phase}".strip()

    def folder(self, path: str | Path) -> str:
        """Names a folder; hidden, only if the program itself has named it."""
        if not self.hidden:
            return str(path)
        return Path(path).name if Path(path).name in TRAINING else "…"


def baseline_command(
    main: ReportedRun | None, command: Sequence[str], *, names: Names
) -> str:
    """Writes the command that trains a run's baseline beside it.

    Args:
        main: The run; "" is returned without any.
        command: The words of this command line, program first.
        names: Whether the run's folder may be named.
    """
    if main is None:
        return ""
    workdir = str(main.folder.parent)
    words = [*command[:1], "--mode", "report", "--workdir", workdir]
    line = next_command(words if command else (), mode="finetune", workdir=workdir)
    line += " --config.finetune.compare_scratch=True"
    return hide_words(line) if names.hidden else line


def command_part(
    pretraining: ReportedRun | None,
    runs: Sequence[ReportedRun],
    command: Sequence[str],
    *,
    names: Names,
) -> str:
    """Lists the commands that make all this again."""
    lines = []
    for run in (pretraining, *runs):
        if run is not None and run.record.command not in lines:
            lines.append(run.record.command)
    lines = [line for line in (*lines, shlex.join(command)) if line]
    if names.hidden:
        lines = [hide_words(line) for line in lines]
    is_script = [line.split()[0].endswith(".py") for line in lines]
    parts = [code(*("python " * x + y for x, y in zip(is_script, lines, strict=True)))]
    if any(run is not None and not run.record.command for run in (pretraining, *runs)):
        parts.append('<p class="note">A study has begun some of these runs.</p>')
    return section("To get it again", *parts)


_NAMING = (
    *("workdir", "input", "output", "support"),
    *(
        "root",
        "cache_dir",
        "checkpoint",
        "split",
        "labeled",
        "exclude",
        "patient_regex",
    ),
)
"""Options and settings whose values name folders, files or patients."""


def hide_words(line: str) -> str:
    """Takes everything out of a command line that may name a patient or a folder.

    What stays is the name of each option, and values that are numbers, switches or the
    program's own words.

    Numbers may be names of patients and of folders, and then go too.

    >>> hide_words("main.py --mode report --workdir /data/Jane --config.seed=3")
    'pix2rep --mode report --workdir … --config.seed=3'
    """
    kept, is_value = [], ""
    for word in shlex.split(line)[1:]:
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            name, value = is_value, word
        is_value = "" if equals or not word.startswith("-") else name
        if word.startswith("-") and not equals:
            kept.append(word)
            continue
        own = name.lstrip("-") in ("mode", "config")
        is_number = re.fullmatch(r"[\d.,e+-]+|True|False|auto|none", value)
        is_place = name.lstrip("-").rpartition(".")[2] in _NAMING
        if own:
            value = Path(value).name
        elif not is_number or (is_place and value not in ("auto", "none")):
            value = "…"
        kept.append(f"{name}={value}" if equals else value)
    return " ".join(["pix2rep", *kept])
