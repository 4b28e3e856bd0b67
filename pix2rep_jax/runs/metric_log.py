"""What a run measures: metrics.jsonl, TensorBoard events, and others' trackers."""

import io
import json
import logging
import math
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

import jax
import numpy as np

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.tensorboard_events import (
    image_event,
    restart_event,
    scalar_event,
    text_event,
    version_event,
)
from pix2rep_jax.runs.trackers import Tracker

__all__ = ["MetricWriter", "Series", "read_metrics"]

_LOG = logging.getLogger(__name__)

Series = Mapping[str, tuple[list[int], list[float]]]
"""Steps and values by a metric's name."""


class MetricWriter:
    """Appends one JSON object a logged step, and the same as TensorBoard scalars.

    A run that was killed may have logged steps after its last checkpoint. It logs them
    again when it goes on, and readers take the last value of a step. Only the first of
    several processes writes. Pictures and texts go to TensorBoard alone.
    """

    def __init__(
        self, folder: Path, *, first_step: int = 1, trackers: Sequence[Tracker] = ()
    ) -> None:
        """Opens the files of a run's folder, which exists.

        Args:
            folder: The run's folder.
            first_step: The step that comes next. TensorBoard forgets what it was told
                of this step and later ones.
            trackers: Are told the metrics too, and closed at the end. One that fails
                is left out from then on, with a warning.

        Raises:
            InputError: If the files cannot be written.
        """
        self._path = Path(folder) / "metrics.jsonl"
        self._file: TextIO | None = None
        self._events: BinaryIO | None = None
        self._trackers = list(trackers)
        if jax.process_index() != 0:
            return
        try:
            half = self._path.exists() and not _ends_in_newline(self._path)
            self._file = self._path.open("a", encoding="utf-8")
            if half:  # of a line that a killed run was writing
                self._file.write("\n")
            name = f"{int(time.time())}.{socket.gethostname()}.{uuid.uuid4().hex[:8]}"
            path = self._path.with_name(f"events.out.tfevents.{name}")
            self._events = path.open("wb")
            self._events.write(version_event() + restart_event(first_step))
        except OSError as error:
            raise self._cannot_write(error) from error

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of a step; a value that is not finite becomes null.

        Raises:
            InputError: If the files cannot be written, for example on a full disk.
        """
        if self._file is None or self._events is None:
            return
        values = {
            name: float(value) if math.isfinite(value) else None
            for name, value in metrics.items()
        }
        try:
            self._file.write(json.dumps({"step": step} | values) + "\n")
            self._file.flush()
            for name, value in values.items():
                if value is not None:
                    self._events.write(scalar_event(step, name, value))
            self._events.flush()
        except OSError as error:
            raise self._cannot_write(error) from error
        known = {name: value for name, value in values.items() if value is not None}
        for tracker in list(self._trackers):
            try:
                tracker.write(step, known)
            except Exception as error:  # a service must not end a training
                self._trackers.remove(tracker)
                _LOG.warning("note: %s gets no more metrics: %s", tracker.name, error)

    def write_text(self, step: int, name: str, text: str) -> None:
        """Writes a text in Markdown for TensorBoard.

        Raises:
            InputError: As `write`.
        """
        self._write_event(text_event(step, name, text))

    def write_image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Writes a picture, `[rows, columns, 3]` uint8, for TensorBoard.

        Raises:
            InputError: As `write`.
        """
        from PIL import Image  # late: a run without pictures does without it

        content = io.BytesIO()
        Image.fromarray(pixels).save(content, format="png")
        height, width = pixels.shape[:2]
        self._write_event(
            image_event(step, name, content.getvalue(), height=height, width=width)
        )

    def _write_event(self, event: bytes) -> None:
        if self._events is None:
            return
        try:
            self._events.write(event)
            self._events.flush()
        except OSError as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Closes the files.

        Raises:
            InputError: If what was written cannot be kept.
        """
        trackers, self._trackers = self._trackers, []
        for tracker in trackers:
            try:
                tracker.close()
            except Exception as error:
                _LOG.warning("note: %s was not closed: %s", tracker.name, error)
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            with file:
                if self._events is not None:
                    self._events.close()
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> InputError:
        return InputError(
            f"{self._path} cannot be written ({error.strerror or error}): free some "
            "space and start the same command again; it goes on from the last "
            "checkpoint"
        )


def read_metrics(path: Path) -> Series:
    """Reads the metrics of a run.

    Args:
        path: The run's metrics.jsonl. Lines that are not whole are passed over, and so
            are values that were not finite.

    Returns:
        Steps in rising order, and the last value that was logged for each.
    """
    series: dict[str, dict[int, float]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            step = int(record.pop("step"))
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
            continue
        for name, value in record.items():
            # Another program may have written NaN, or a word.
            if type(value) in (int, float) and math.isfinite(value):
                series.setdefault(name, {})[step] = value
    return {
        name: (sorted(values), [values[step] for step in sorted(values)])
        for name, values in series.items()
    }


def _ends_in_newline(path: Path) -> bool:
    """Whether a file is empty or its last line is whole."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        return size == 0 or (file.seek(size - 1), file.read(1))[1] == b"\n"
