"""Several processes, on one host or many, that work as one program."""

import jax
import numpy as np
from jax.experimental import multihost_utils

from pix2rep_jax.errors import InputError

__all__ = ["check_alike", "join_hosts"]

_MEND = "start each with --coordinator HOST:PORT --num_processes N --process_id I"


def join_hosts(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Joins several processes to one program, before anything touches a device.

    Args:
        coordinator: HOST:PORT of process 0; "auto" asks the TPU pod or the cluster
            (SLURM, Open MPI, Kubernetes) for everything; None or "" is one process.
        num_processes: Number of processes; None asks the cluster.
        process_id: Number of this process, from 0; None asks the cluster.

    Raises:
        InputError: If the flags are not enough. Where the other processes do not come
            in time jax itself ends this one.
    """
    if not coordinator:
        if num_processes not in (None, 1):
            raise InputError(
                f"--num_processes={num_processes} does nothing by itself: {_MEND}"
            )
        return
    port = coordinator.rpartition(":")[2]
    named = ":" in coordinator and port.isdecimal() and 0 < int(port) < 2**16
    if not (named or coordinator == "auto"):  # jax would wait for minutes, or crash
        raise InputError(
            f"--coordinator is {coordinator!r}, which does not name a port between 1 "
            f"and 65535: {_MEND}"
        )
    try:
        jax.distributed.initialize(
            None if coordinator == "auto" else coordinator,
            num_processes=num_processes,
            process_id=process_id,
        )
        jax.devices()  # now, while the others are there: it takes all of them
    except (RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"the processes cannot be joined by --coordinator={coordinator} ({said}): "
            f"where no TPU pod or cluster says what is missing, {_MEND}"
        ) from error


def check_alike(digest: str) -> None:
    """Checks that all processes, each of which does a part, were given the same.

    Args:
        digest: Hexadecimal hash of all that must be alike: settings, scans and the
            network to start from. Where these lie may differ from host to host.

    Raises:
        InputError: In every process, if one has another digest than the first, or
            does not come.
    """
    if jax.process_count() == 1:
        return
    own = np.frombuffer(bytes.fromhex(digest), np.uint8)
    try:
        everyone = np.asarray(multihost_utils.process_allgather(own))
    except jax.errors.JaxRuntimeError as error:
        said = str(error).splitlines()[0]
        raise InputError(
            f"the processes did not all come to the first step ({said}): read what the "
            "others say and start all again; scans that are prepared are kept"
        ) from error
    differs = (everyone != everyone[0]).any(axis=-1)  # [processes]
    if differs.any():
        raise InputError(
            f"process {differs.argmax()} was given another configuration, other scans "
            "or another network to start from than process 0: start all with the same "
            "flags, on copies of the same files"
        )
