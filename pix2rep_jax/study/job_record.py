"""The state of a job on disk: whether it ended, how long it took, why it failed."""

import dataclasses
import json
from typing import Any

from pix2rep_jax.runtime.atomic_file import read_object, write_whole
from pix2rep_jax.study.jobs import Job

__all__ = ["Record", "read_evaluation", "read_record", "write_record"]

_FILE = "record.json"


@dataclasses.dataclass(frozen=True)
class Record:
    """The state of a job.

    Attributes:
        status: "pending", "interrupted", "failed" or "finished".
        seconds: Wall time over all attempts (s).
        reason: Why it failed, in one sentence.
        notice: What a reader of its numbers has to know, in one sentence.
        ended: When its last attempt ended (s since the epoch); 0 if unknown.
        hardware: The devices it ran on last, such as "1 x cpu".
    """

    status: str = "pending"
    seconds: float = 0.0
    reason: str = ""
    notice: str = ""
    ended: float = 0.0
    hardware: str = ""


def read_record(job: Job) -> Record:
    """Reads the record of a job.

    Returns:
        The record. A missing or damaged one is pending, and so is a finished
        pretraining whose network is gone. A probing or fine-tuning run without
        readable scores has failed, so that the next start repeats it.
    """
    try:
        record = Record(**read_object(job.workdir / _FILE))
    except TypeError:  # a field that no Record has
        return Record()
    fields = dataclasses.asdict(Record())
    for name, usual in fields.items():  # an integer may stand for seconds
        kinds = (int, float) if isinstance(usual, float) else (str,)
        if type(getattr(record, name)) not in kinds:
            return Record()
    if record.status != "finished":
        return record
    if job.mode == "pretrain":
        there = (job.workdir / job.mode).is_dir()
        return record if there else dataclasses.replace(record, status="pending")
    try:
        read_evaluation(job)
    except (OSError, ValueError) as error:
        reason = f"its evaluation cannot be read: {error}"
        return dataclasses.replace(record, status="failed", reason=reason)
    return record


def read_evaluation(job: Job) -> dict[str, Any]:
    """Reads evaluation.json of a probing or fine-tuning run.

    Raises:
        OSError: If it or per_volume.csv is missing.
        ValueError: If it is damaged.
    """
    folder = job.workdir / job.mode
    content = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "dice" not in content:
        raise ValueError(f"{folder / 'evaluation.json'} has no Dice")
    (folder / "per_volume.csv").stat()
    return content


def write_record(job: Job, record: Record) -> None:
    """Writes the record of a job in one go."""
    text = json.dumps(dataclasses.asdict(record), indent=2) + "\n"
    write_whole(job.workdir / _FILE, text)
