"""Which scan to label next: the one least like those that are labelled already."""

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["FARTHEST_RULE", "choose_farthest", "describe_scan", "standardise"]

FARTHEST_RULE = (
    "A scan is the mean of the pretrained network's features over its pixels, each "
    "feature standardised over all scans. Listed first is the one that lies farthest "
    "from its nearest labelled scan; for the next ones, those above count as labelled"
)
"""What `choose_farthest` does, for readers."""


def describe_scan(
    embed: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    boxes: np.ndarray,
    *,
    most: int = 8,
) -> np.ndarray:
    """Averages the features of a scan's pixels.

    Args:
        embed: Maps images `[slices, height, width, channels]` to features
            `[slices, height, width, d]`.
        images: The slices.
        boxes: `[slices, 4]`, the pixels of each slice that lie in the scan, as in
            `Dataset`.
        most: So many slices, evenly spread, stand for all.

    Returns:
        `[d]` float64.
    """
    number = min(most, len(images))
    chosen = np.linspace(0, len(images) - 1, number).round().astype(int)
    features = embed(images[chosen])
    total, count = np.zeros(features.shape[-1]), 0
    for each, (top, bottom, left, right) in zip(features, boxes[chosen], strict=True):
        inside = each[top : bottom + 1, left : right + 1].reshape(-1, each.shape[-1])
        total += inside.sum(0, dtype=np.float64)
        count += len(inside)
    return total / max(count, 1)


def standardise(scans: np.ndarray) -> np.ndarray:
    """Gives each feature of `[scans, d]` mean 0 and standard deviation 1.

    A feature that does not differ becomes 0.
    """
    spread = scans.std(0)
    centred = scans - scans.mean(0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)


def choose_farthest(
    scans: np.ndarray,
    labelled: Sequence[int],
    candidates: Sequence[int],
    *,
    number: int,
) -> list[tuple[int, float]]:
    """Chooses scans one by one, each the farthest from all that came before it.

    Args:
        scans: `[scans, d]`, standardised.
        labelled: Indices of the labelled scans, at least one.
        candidates: Indices of the scans to choose from.
        number: How many to choose, at most.

    Returns:
        Index and distance of each, in the order of the choice.

    Reference:
        Sener and Savarese, "Active learning for convolutional neural networks: a
        core-set approach", ICLR 2018 (their greedy algorithm, k-centre).

    >>> line = np.array([[0.0], [1.0], [5.0], [6.0], [3.0]])
    >>> choose_farthest(line, [0], [1, 2, 3, 4], number=2)
    [(3, 6.0), (4, 3.0)]
    """
    left = list(candidates)

    def to(index: int) -> np.ndarray:
        return np.linalg.norm(scans[left] - scans[index], axis=1)

    nearest = (
        np.min([to(index) for index in labelled], axis=0) if left else np.array(())
    )
    chosen: list[tuple[int, float]] = []
    while len(chosen) < min(number, len(left)):
        place = int(nearest.argmax())
        chosen.append((left[place], float(nearest[place])))
        nearest = np.minimum(nearest, to(left[place]))
        nearest[place] = -1.0
    return chosen
