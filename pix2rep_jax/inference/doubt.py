"""How unsure a network is of a scan."""

import numpy as np

__all__ = ["DOUBT_RULE", "SURE", "doubt", "most_doubtful_slice"]

SURE = 0.95
"""From this probability on a pixel is surely background, and does not count."""

DOUBT_RULE = (
    "Doubt is the mean entropy of the class probabilities over all pixels but those "
    f"that are background with {SURE:.0%} or more; 0 is sure, 1 is a guess, and a scan "
    "in which nothing is found counts as 1"
)
"""What `doubt` computes, in one sentence for readers."""


def doubt(probabilities: np.ndarray) -> float:
    """Computes the doubt of a scan.

    Args:
        probabilities: `[slices, height, width, num_classes]`, background first.

    Returns:
        The mean entropy, as a share of the largest possible one.

    >>> sure, guess = np.array([[[[0.0, 1.0]]]]), np.array([[[[0.5, 0.5]]]])
    >>> doubt(sure), doubt(guess)
    (0.0, 1.0)
    """
    counts = probabilities[..., 0] < SURE
    if not (probabilities.argmax(-1) > 0).any():
        return 1.0
    return float(entropy(probabilities[counts]).mean())


def most_doubtful_slice(probabilities: np.ndarray) -> int:
    """Finds the slice with the most entropy, of `[slices, height, width, classes]`."""
    return int(entropy(probabilities).sum((1, 2)).argmax())


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Computes the entropy of `[..., classes]` in float32, as a share of the largest.

    An impossible class adds nothing.
    """
    values = np.asarray(probabilities, np.float32)
    logarithms = np.log(np.where(values > 0, values, 1))
    share = -(values * logarithms).sum(-1) / np.log(values.shape[-1])
    return np.abs(share)  # so that no 0 is negative
