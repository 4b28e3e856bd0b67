"""Which checkpoint of a segmenter's training is its result: `segmentation.keep`."""

from collections.abc import Sequence
from pathlib import Path

from pix2rep_jax.runs.checkpoint_steps import BEST, LAST, result_step
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import read_num_steps
from pix2rep_jax.runtime.config_checks import choice

__all__ = ["SETTINGS", "describe_networks", "kept_checkpoint", "kept_step"]

SETTINGS = {"keep": choice(LAST, BEST, "")}
"""Of the configuration's section `segmentation`; "" is what each run has recorded."""


def kept_checkpoint(run: Path, given: str = "") -> str:
    """Says which checkpoint of a run is to be used.

    Args:
        run: The folder of a finetune or probe run.
        given: `LAST` or `BEST` where a command asks for it; "" for the run's own.
    """
    return given or read_config(run)["segmentation"]["keep"]


def kept_step(run: Path, given: str = "") -> int:
    """Finds the step of that checkpoint; the arguments are those of `kept_checkpoint`.

    Raises:
        InputError: As `result_step`.
    """
    return result_step(run, keep=kept_checkpoint(run, given))


def describe_networks(runs: Sequence[Path], given: str = "") -> str:
    """Says in one line which networks are used.

    Args:
        runs: The folders of their runs.
        given: As for `kept_checkpoint`.

    Returns:
        For each its folder, which checkpoint, its step and the run's length. Several
        are named an ensemble.
    """
    each = [
        f"{run} at step {kept_step(run, given)} of {read_num_steps(run)} "
        f"(the {kept_checkpoint(run, given)})"
        for run in runs
    ]
    if len(each) == 1:
        return f"network: {each[0]}"
    return f"network: the mean of {len(each)} as an ensemble: {'; '.join(each)}"
