"""Several processes, on one host or many, that work as one program."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.config_checks import effective

__all__ = ["check_alike", "join_hosts"]

_MEND = "start each with --coordinator HOST:PORT --num_processes N --process_id I"

_LOCAL = ("data.root", "data.cache_dir", "init.checkpoint")


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
    try:
        jax.distributed.initialize(
            None if coordinator == "auto" else coordinator,
            num_processes=num_processes,
            process_id=process_id,
        )
    except (RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"the processes cannot be joined by --coordinator={coordinator} ({said}): "
            f"where no TPU pod or cluster says what is missing, {_MEND}"
        ) from error


def check_alike(
    config: Mapping[str, Any], scans: Mapping[str, Any], *, network: str | None
) -> None:
    """Checks that all processes, each of which does a part, were given the same.

    Where scans, cache and checkpoint lie may differ from host to host, what they hold
    may not.

    Args:
        config: The whole configuration.
        scans: What tells them apart, as `Split.scans`.
        network: What tells the one to start from apart; None for a random one.

    Raises:
        InputError: In every process, if one was given something else than the first,
            or does not come.
    """
    if jax.process_count() == 1:
        return
    settings = {k: v for k, v in effective(config).items() if k not in _LOCAL}
    given = {
        "configuration": settings,
        "scans": scans,
        "network to start from": network,
    }
    texts = [json.dumps(each, sort_keys=True) for each in given.values()]
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    own = np.stack([np.frombuffer(digest, np.uint8) for digest in digests])
    try:
        everyone = np.asarray(multihost_utils.process_allgather(own))
    except jax.errors.JaxRuntimeError as error:
        said = str(error).splitlines()[0]
        raise InputError(
            f"the processes did not all come to the first step ({said}): see what the "
            "others say and start all again; scans that are prepared are kept"
        ) from error
    differs = (everyone != everyone[0]).any(axis=-1)  # [processes, given]
    if differs.any():
        process, which = np.argwhere(differs)[0]
        raise InputError(
            f"process {process} was given another {list(given)[which]} than process 0: "
            "start all with the same flags, on copies of the same files"
        )
