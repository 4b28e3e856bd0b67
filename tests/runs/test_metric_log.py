"""metrics.jsonl and TensorBoard events."""

import json
import math

import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.metric_log import MetricWriter


def read(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def test_each_line_is_one_step(tmp_path):
    """Every line is a JSON object with its step; what is not finite is null."""
    with MetricWriter(tmp_path) as writer:
        writer.rewind(0)
        writer.write(1, {"loss": 2.5})
        writer.write(2, {"loss": math.nan, "norm": math.inf})
    assert read(tmp_path) == [
        {"step": 1, "loss": 2.5},
        {"step": 2, "loss": None, "norm": None},
    ]
    assert [p for p in tmp_path.iterdir() if p.name.startswith("events.out.tfevents")]


def test_a_run_that_goes_on_forgets_what_comes_after_its_checkpoint(tmp_path):
    """Lines after the step, and the half line of a killed run, are dropped; the rest
    stays as it was."""
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.1 * step}) for step in range(1, 6)]
    path.write_text("\n".join(lines) + '\n{"step": 6, "lo')
    with MetricWriter(tmp_path) as writer:
        writer.rewind(3)
        writer.write(4, {"loss": 9.0})
    assert path.read_text() == "\n".join(lines[:3]) + '\n{"step": 4, "loss": 9.0}\n'


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    """A missing folder is one sentence that names the file."""
    writer = MetricWriter(tmp_path / "missing")
    with pytest.raises(InputError, match=r"metrics\.jsonl cannot be written"):
        writer.rewind(0)
