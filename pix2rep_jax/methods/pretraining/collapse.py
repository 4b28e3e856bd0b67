"""Whether a pretraining has collapsed: all images have one embedding."""

from collections.abc import Sequence

import numpy as np

__all__ = ["collapse_note"]


def collapse_note(
    losses: Sequence[float], collapsed_loss: float | None, *, method: str
) -> str:
    """Says so if the last losses all stand at that of a collapsed network.

    Args:
        losses: In the order logged.
        collapsed_loss: As in `Method`.
        method: Its name.

    Returns:
        A sentence, or "".
    """
    if collapsed_loss is None or not len(losses):
        return ""
    distance = np.abs(np.array(losses[-5:]) - collapsed_loss)
    if not (distance < 0.01 * collapsed_loss).all():
        return ""
    return (
        f"{method} has collapsed: its loss stands at {collapsed_loss:.3f}, as for a "
        "network that maps all images to one embedding, so nothing was learned. Lower "
        "the learning rate, warm up longer or raise the temperature, in another "
        "--workdir"
    )
