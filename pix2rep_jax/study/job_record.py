"""What is known of a job: whether it ended, how long it took, and why it failed."""

import dataclasses
import json
from typing import Any

from pix2rep_jax.runtime.atomic_file import read_object, write_whole
from pix2rep_jax.study.plan import Job

__all__ = [
    "Record",
    "read_evaluation",
    "read_own_record",
    "read_record",
    "write_record",
]

_FILE = "record.json"


@dataclasses.dataclass(frozen=True)
class Record:
    """The state of a job.

    Attributes:
        status: "pending", "interrupted", "failed" or "finished".
        seconds: It has taken, over all sittings (s).
        reason: Why it failed, in a sentence.
        notice: What a reader of its numbers has to know, in a sentence.
        ended: When its last sitting ended (s since the epoch); 0 if nobody knows.
    """

    status: str = "pending"
    seconds: float = 0.0
    reason: str = ""
    notice: str = ""
    ended: float = 0.0


def read_record(job: Job) -> Record:
    """Reads a job's record; one that is missing or damaged is pending.

    A probing or fine-tuning run without scores that can be read has failed, whatever
    its record says, so that the next start mends it.
    """
    try:
        record = Record(**read_object(job.workdir / _FILE))
    except TypeError:  # a field that is none of these
        return Record()
    if record.status == "finished" and job.mode != "pretrain":
        try:
            read_evaluation(job)
        except (OSError, ValueError) as error:
            reason = f"its evaluation cannot be read: {error}"
            return dataclasses.replace(record, status="failed", reason=reason)
    return record


def read_evaluation(job: Job) -> dict[str, Any]:
    """Reads evaluation.json of a probing or fine-tuning run.

    Raises:
        OSError: If it is not there, or per_volume.csv beside it is not.
        ValueError: If it is damaged.
    """
    folder = job.workdir / job.mode
    content = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "dice" not in content:
        raise ValueError(f"{folder / 'evaluation.json'} has no Dice")
    (folder / "per_volume.csv").stat()
    return content


def read_own_record(job: Job) -> Record:
    """Reads a job's record as `read_record`; what is finished elsewhere is pending.

    A pretraining whose record came from another machine without its network has to be
    run again before anything can start from it.
    """
    record = read_record(job)
    away = record.status == "finished" and not (job.workdir / job.mode).is_dir()
    return Record() if away else record


def write_record(job: Job, record: Record) -> None:
    """Writes a job's record in one go."""
    text = json.dumps(dataclasses.asdict(record), indent=2) + "\n"
    write_whole(job.workdir / _FILE, text)
