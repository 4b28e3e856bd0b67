"""Several processes, on one host or many, as one program."""

import jax

from pix2rep_jax.errors import InputError

__all__ = ["join_hosts"]

_MEND = "start every host with --coordinator HOST:PORT --num_processes N --process_id I"


def join_hosts(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Makes one program of several processes, before anything touches a device.

    Args:
        coordinator: HOST:PORT of process 0; "auto" asks the TPU pod for everything;
            None is one process alone.
        num_processes: How many there are.
        process_id: Which one this is, from 0.

    Raises:
        InputError: If what is given is not enough, or the others are not found.
    """
    numbers = (num_processes, process_id)
    if coordinator is None:
        if numbers != (None, None):
            raise InputError(
                f"--num_processes and --process_id do nothing by themselves: {_MEND}"
            )
        return
    if coordinator == "auto":
        numbers, arguments = (1, 0), ()
    else:
        arguments = (coordinator, *numbers)
    if None in numbers or not 0 <= numbers[1] < numbers[0]:
        raise InputError(
            f"--coordinator={coordinator} needs to know how many processes there are "
            f"and which one this is, from 0 (it has {num_processes} and {process_id}): "
            f"{_MEND}"
        )
    try:
        jax.distributed.initialize(*arguments)
    except (RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"the processes cannot be joined by --coordinator={coordinator} ({said}): "
            f"'auto' is for TPU pods alone; elsewhere {_MEND}"
        ) from error
