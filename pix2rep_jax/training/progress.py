"""Where a run stands: a bar on a terminal, a line now and then in a log."""

import sys
import time

from tqdm import tqdm

__all__ = ["Progress"]

_LINE_SECONDS = 30.0


class Progress:
    """Shows steps, loss, steps a second and the time that is left, on stderr."""

    def __init__(self, total: int, *, initial: int, description: str) -> None:
        """Starts the display.

        Args:
            total: Steps of the whole run.
            initial: Steps done before.
            description: The mode.
        """
        self._total, self._step, self._initial = total, initial, initial
        self._description, self._loss = description, ""
        self._started = self._printed = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total,
                initial=initial,
                desc=description,
                unit="step",
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._step > self._initial:
            self._print()

    def update(self, loss: float | None) -> None:
        """Counts one step; `loss` is the newest one known."""
        self._step += 1
        if self._step == self._initial + 1:
            self._started = time.monotonic()  # the first step compiles
        if loss is not None:
            self._loss = f"{loss:.4g}"
        if self._bar is not None:
            if self._loss:
                self._bar.set_postfix_str(f"loss={self._loss}", refresh=False)
            self._bar.update()
        elif time.monotonic() - self._printed > _LINE_SECONDS:
            self._print()

    def _print(self) -> None:
        now = time.monotonic()
        text = f"{self._description}: step {self._step}/{self._total}"
        if self._loss:
            rate = (self._step - self._initial - 1) / max(now - self._started, 1e-9)
            left = tqdm.format_interval((self._total - self._step) / max(rate, 1e-9))
            text += f", loss {self._loss}, {rate:.2f} steps/s, {left} left"
        print(
            text,
            file=sys.stderr,
            flush=True,
        )
        self._printed = now
