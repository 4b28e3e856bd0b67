"""What is known of a job: whether it ended, how long it took, and why it failed."""

import dataclasses
import json

from pix2rep_jax.study.plan import Job
from pix2rep_jax.whole_file import write_whole

__all__ = ["Record", "read_own_record", "read_record", "write_record"]

_FILE = "record.json"


@dataclasses.dataclass(frozen=True)
class Record:
    """The state of a job.

    Attributes:
        status: "pending", "interrupted", "failed" or "finished".
        seconds: It has taken, over all sittings (s).
        reason: Why it failed, in a sentence.
    """

    status: str = "pending"
    seconds: float = 0.0
    reason: str = ""


def read_record(job: Job) -> Record:
    """Reads a job's record; one that is missing or damaged is pending."""
    try:
        return Record(**json.loads((job.workdir / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Record()


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
