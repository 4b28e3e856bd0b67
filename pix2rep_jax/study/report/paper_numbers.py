"""The paper's own figures: average Dice on ACDC's test set, in percent.

Seince et al., "Dense Self-Supervised Learning for Medical Image Segmentation", MIDL
2024 (CC BY 4.0). Tables 5 to 8 (one structure each) are pictures in the paper's source,
so they are not included.
"""

from collections.abc import Mapping

__all__ = ["find_number"]

LABELED = (1, 2, 5, 10, 20, 50, 100)
"""Columns of Tables 1, 3 and 4: labelled patients, |X_tr|."""

TABLE_1: Mapping[str, tuple[float, ...]] = {
    "Baseline (U-Net)": (53.5, 67.3, 79.2, 83.1, 90.6, 92.8, 93.1),
    "Mean Teacher": (57.3, 68.9, 84.5, 89.0, 90.3, 92.4, 93.9),
    "SimCLR pretraining": (63.3, 77.8, 85.0, 88.9, 90.2, 92.1, 92.6),
    "Chaitanya et al. (2020)": (76.7, 78.0, 85.9, 88.7, 90.8, 92.2, 92.7),
    "Proposed (w/o rot. & int. reversal)": (77.7, 80.4, 87.9, 90.2, 92.2, 93.3, 94.3),
    "Proposed (only linear probing)": (83.3, 85.7, 87.0, 87.7, 88.6, 89.3, 89.6),
    "Proposed": (84.7, 88.2, 90.2, 91.2, 92.5, 93.6, 94.1),
    "Proposed + Mean Teacher": (86.1, 89.7, 91.1, 91.9, 92.7, 93.8, 94.2),
}

TABLE_2: Mapping[str, tuple[float, float]] = {
    "Defaults w/ 10 epochs pretraining": (39.7, 1.0),
    "10 epochs → 100 epochs": (51.2, 2.7),
    "64 feature maps → 1024 feature maps": (73.4, 0.9),
    "Add 'intensity reversal' augmentation": (82.5, 3.0),
    "Add rotation augmentation": (84.5, 1.0),
    "Linear-probing → Fine-tuning": (89.2, 1.3),
}
"""With 5 labelled patients: mean and standard deviation over five runs."""

TABLE_3: Mapping[str, tuple[float, ...]] = {
    "Pix2Rep-v2 w/ linear probing": (82.6, 85.0, 88.1, 89.1, 89.8, 90.4, 90.7),
    "Pix2Rep-v2 w/ fine-tuning": (85.6, 88.4, 91.1, 92.0, 92.6, 93.4, 94.0),
}
"""In the paper the first name stands above the table only."""

TABLE_4: Mapping[str, tuple[float, ...]] = {
    "Pix2Rep-v2 + Mean Teacher": (87.9, 90.0, 91.8, 92.4, 92.7, 93.4, 93.9),
}


def find_number(table: int, title: str, *, num_labeled: int) -> str:
    """Finds a number in the paper's tables.

    Args:
        table: Number of the table, 1 to 4.
        title: Title of the row, as in the mappings above.
        num_labeled: Number of labelled patients, the column.

    Returns:
        The number as the paper prints it, or "" if it has none.
    """
    if table == 2:
        pair = TABLE_2.get(title) if num_labeled == 5 else None
        return f"{pair[0]:.1f} ± {pair[1]:.1f}" if pair else ""
    numbers = {1: TABLE_1, 3: TABLE_3, 4: TABLE_4}.get(table, {}).get(title)
    if numbers is None or num_labeled not in LABELED:
        return ""
    return f"{numbers[LABELED.index(num_labeled)]:.1f}"
