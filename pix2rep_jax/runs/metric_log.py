"""Metrics of a run in training: metrics.jsonl and TensorBoard events."""

import contextlib
import json
import math
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import jax
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import write_whole

__all__ = ["MetricWriter", "Series", "read_metrics"]


Series = Mapping[str, tuple[list[int], list[float]]]
"""Maps the name of a metric to its steps and its values."""


class MetricWriter:
    """Writes one JSON object per logged step, and the same as TensorBoard scalars.

    Only the first of several processes writes. All files are written by the thread
    that calls: tensorboardX's `SummaryWriter` has a thread of its own, which dies on a
    full disk, and then `add_scalar` waits for it without end.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the files of a run's folder, which exists. Nothing in them is lost."""
        self._path = Path(folder) / "metrics.jsonl"
        self._active = jax.process_index() == 0
        self._file = self._events = None

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        # Closing writes what is left, so it fails again if the disk is full.
        suppressed = contextlib.suppress(OSError if kind is not None else ())
        try:
            for file in (self._file, self._events):
                if file is not None:
                    with suppressed:
                        file.close()
        except OSError as fault:
            raise self._complaint(fault) from fault

    def rewind(self, step: int) -> None:
        """Drops what was logged after a step, and the half line of a killed run.

        Call it once, before writing, with the step that the run goes on from.

        Raises:
            InputError: If the files cannot be written.
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
            name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
            self._events = self._path.with_name(name).open("ab")
            # TensorBoard hides the older events from this step on.
            restart = SessionLog(status=SessionLog.START)
            self._events.write(_record(Event(file_version="brain.Event:2")))
            self._events.write(_record(Event(step=step + 1, session_log=restart)))
            self._events.flush()
        except OSError as error:
            raise self._complaint(error) from error

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of a step. A value that is not finite becomes null.

        Raises:
            InputError: If the files cannot be written, such as on a full disk.
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
                    event = Event(step=step, summary=scalar(name, value))
                    self._events.write(_record(event))
            self._events.flush()
        except OSError as error:
            raise self._complaint(error) from error

    def _complaint(self, error: OSError) -> InputError:
        return InputError(
            f"{self._path} cannot be written ({error.strerror or error}): free some "
            "space and start the same command again; it goes on from the last "
            "checkpoint"
        )


def read_metrics(path: Path) -> Series:
    """Reads the metrics of a run.

    Args:
        path: The run's metrics.jsonl. Lines that are not whole are skipped, and so are
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


def _record(event: Event) -> bytes:
    """Encodes an event as TensorBoard's files hold it: sizes, checksums and content."""
    event.wall_time = time.time()
    content = event.SerializeToString()
    size = struct.pack("<Q", len(content))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (size, content))
    return size + next(checksums) + content + next(checksums)


def _whole_lines(path: Path) -> list[str]:
    """Lists the lines that are JSON objects with a step."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n") and _step_of(line) >= 0]


def _step_of(line: str) -> int:
    """Returns the step of a line, or -1."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1
