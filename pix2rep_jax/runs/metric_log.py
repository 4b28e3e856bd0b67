"""What a run measures on its way: metrics.jsonl and TensorBoard events."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import jax
from tensorboardX import SummaryWriter

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import write_whole

__all__ = ["MetricWriter", "Series", "read_metrics"]

Series = Mapping[str, tuple[list[int], list[float]]]
"""Steps and values by a metric's name."""


class MetricWriter:
    """Writes one JSON object a logged step, and the same as TensorBoard scalars.

    Only the first of several processes writes.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the files of a run's folder, which exists; nothing is lost in them."""
        self._path = Path(folder) / "metrics.jsonl"
        self._active = jax.process_index() == 0
        self._file = self._events = None

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._events.close()

    def rewind(self, step: int) -> None:
        """Forgets what was logged after a step, and half a line of a killed run.

        Call it once, before writing, with the step that the run goes on from.
        """
        if not self._active:
            return
        try:
            if self._path.exists():
                kept = "".join(
                    line for line in _whole_lines(self._path) if _step_of(line) <= step
                )
                write_whole(self._path, kept)
            self._file = self._path.open("a", encoding="utf-8")
            self._events = SummaryWriter(str(self._path.parent), purge_step=step + 1)
        except OSError as error:
            raise self._complaint(error) from error

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of a step; what is not finite becomes null.

        Raises:
            InputError: If the disk is full.
        """
        if not self._active:
            return
        if self._file is None:
            self.rewind(step)
        values = {
            name: float(value) if math.isfinite(value) else None
            for name, value in metrics.items()
        }
        try:
            self._file.write(json.dumps({"step": step} | values) + "\n")
            self._file.flush()
            for name, value in values.items():
                if value is not None:
                    self._events.add_scalar(name, value, step)
        except OSError as error:
            raise self._complaint(error) from error

    def _complaint(self, error: OSError) -> InputError:
        return InputError(
            f"{self._path} cannot be written ({error.strerror}): free some space and "
            "start the same command again; it goes on from the last checkpoint"
        )


def read_metrics(path: Path) -> Series:
    """Reads the metrics of a run.

    Args:
        path: Its metrics.jsonl; lines that are not whole are passed over, as are
            values that were not finite.
    """
    series: dict[str, tuple[list[int], list[float]]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            step = int(record.pop("step"))
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
        for name, value in record.items():
            if value is not None:
                steps, values = series.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    return series


def _whole_lines(path: Path) -> list[str]:
    """The lines of a JSON-lines file that are JSON objects with a step."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n") and _step_of(line) >= 0]


def _step_of(line: str) -> int:
    """The step of a line, or -1."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1
