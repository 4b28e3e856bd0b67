"""Several processes, on one host or many, as one program."""

import jax

from pix2rep_jax.errors import InputError

__all__ = ["join_hosts"]

_MEND = "start each with --coordinator HOST:PORT --num_processes N --process_id I"


def join_hosts(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Makes one program of several processes, before anything touches a device.

    Args:
        coordinator: HOST:PORT of process 0; "auto" asks the TPU pod or the cluster
            (SLURM, Open MPI, Kubernetes) for everything; None or "" is one process.
        num_processes: How many there are; None asks the cluster.
        process_id: Which one this is, from 0; None asks the cluster.

    Raises:
        InputError: If what is given is not enough. Where the others do not come in
            time jax itself ends the process.
    """
    if not coordinator:
        if num_processes not in (None, 1):
            raise InputError(
                f"--num_processes={num_processes} does nothing by itself: {_MEND}"
            )
        return
    arguments = () if coordinator == "auto" else (coordinator,)
    try:
        jax.distributed.initialize(
            *arguments, num_processes=num_processes, process_id=process_id
        )
    except (RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"the processes cannot be joined by --coordinator={coordinator} ({said}): "
            f"where no TPU pod or cluster says what is missing, {_MEND}"
        ) from error
