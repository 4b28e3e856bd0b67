"""Fits a logistic regression to the pixels of embeddings, with scikit-learn.

pix2rep --mode embed --workdir runs/pix2rep --input SCANS --output EMBEDDINGS
python examples/embeddings_in_sklearn.py EMBEDDINGS MASKS

MASKS has a NIfTI mask NAME.nii.gz, NAME_gt.nii.gz or NAME_seg.nii.gz for each
NAME_embedding.npz, with the slices along its third axis. All scans but the last train;
the last is scored. Without masks the pixels of all scans are grouped by KMeans.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_PIXELS = 2000
"""Pixels of a scan that train."""


def read_embedding(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads an embedding, and where its pixels lie in a slice of the scan.

    Returns:
        float32 `[slices, rows, columns, d]`, and the scan's row of each row and column
        of each column, whole numbers that may lie outside of the slice.
    """
    with np.load(path) as found:
        embedding = found["embedding"].astype(np.float32)
        rows, columns = (
            np.rint(found["origin_px"][axis] + found["step_px"][axis] * np.arange(side))
            for axis, side in enumerate(embedding.shape[-3:-1])
        )
    frames = embedding.reshape(-1, *embedding.shape[-3:])
    return frames, rows.astype(int), columns.astype(int)


def read_mask(
    path: Path, masks: Path, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Reads the labels at the embedding's pixels.

    Returns:
        int `[slices, rows, columns]`; 0 outside of the scan.
    """
    name = path.name.removesuffix("_embedding.npz")
    found = [
        each
        for end in ("", "_gt", "_seg")
        for each in masks.rglob(f"{name}{end}.nii*")
        if each.is_file()
    ]
    if not found:
        raise SystemExit(f"there is no mask of {name} in {masks}")
    mask = np.asarray(nib.load(found[0]).dataobj).astype(int)
    mask = mask.reshape(*mask.shape[:2], -1, order="F")
    inside = np.ix_(
        (rows >= 0) & (rows < mask.shape[0]),
        (columns >= 0) & (columns < mask.shape[1]),
    )
    labels = np.zeros((mask.shape[2], len(rows), len(columns)), int)
    near = mask[
        np.ix_(rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1))
    ]
    for index, label in enumerate(labels):
        label[inside] = near[..., index][inside]
    return labels


def main() -> None:
    """Reads the command line, fits and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("embeddings", type=Path)
    parser.add_argument("masks", type=Path, nargs="?")
    given = parser.parse_args()
    paths = sorted(given.embeddings.rglob("*_embedding.npz"))
    if len(paths) < 2:
        raise SystemExit(f"{given.embeddings} needs two *_embedding.npz at least")
    draw, pixels, labels = np.random.default_rng(0), [], []
    for path in paths:
        embedding, rows, columns = read_embedding(path)
        pixels.append(embedding.reshape(-1, embedding.shape[-1]))
        if given.masks is not None:
            labels.append(read_mask(path, given.masks, rows, columns).ravel())
    chosen = [draw.permutation(len(each))[:_PIXELS] for each in pixels]
    train = np.concatenate([x[i] for x, i in zip(pixels, chosen, strict=True)][:-1])
    if given.masks is None:
        groups = KMeans(4, n_init=4, random_state=0).fit(train).predict(pixels[-1])
        print(f"pixels of {paths[-1].name} in each group:", *np.bincount(groups))
        return
    known = np.concatenate([x[i] for x, i in zip(labels, chosen, strict=True)][:-1])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    found = model.fit(train, known).predict(pixels[-1])
    print(f"{paths[-1].name} by {len(paths) - 1} other scans, all its slices:")
    for label in np.unique(known):
        one, other = found == label, labels[-1] == label
        total = one.sum() + other.sum()
        print(f"  label {label}: Dice {2 * (one & other).sum() / max(total, 1):.3f}")


if __name__ == "__main__":
    main()
