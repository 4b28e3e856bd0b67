"""The phantom's ventricles as grey levels and labels of slices."""

import math

import numpy as np

from pix2rep_jax.data.phantom.heart import NUM_ANGLES, Contours, Heart, bump
from pix2rep_jax.data.phantom.thorax import Tissues

__all__ = ["paint_heart"]


def paint_heart(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    heart: Heart,
    shape: Contours,
    tissues: Tissues,
    texture: np.ndarray,
    *,
    thickness_mm: float,
) -> np.ndarray:
    """Paints the ventricles, and above them atria and great vessels, in place.

    Args:
        image: `[slices, rows, columns]`, the heart's surroundings.
        x: `[slices, rows, columns]`, mm from the left ventricle's axis towards the
            right ventricle.
        y: `[slices, rows, columns]`, mm in the direction a quarter turn on, which is
            the front.
        heart: One patient's ventricles.
        shape: Their contours on these slices.
        tissues: The patient's contrast.
        texture: `[slices, rows, columns]`, a random field of unit variance.
        thickness_mm: Thickness of a slice. The edges of sloping walls blur over it.

    Returns:
        uint8 labels in the image's shape: 1 right ventricle, 2 muscle, 3 left
        ventricle.
    """
    radius = np.hypot(x, y)
    bins = ((np.arctan2(y, x) + np.pi) * (NUM_ANGLES / (2 * np.pi))).astype(np.int32)
    bins = bins.reshape(len(x), -1) % NUM_ANGLES

    def around(table):
        """Reads a contour's radius at every pixel's angle."""
        table = table.astype(np.float32)
        return np.take_along_axis(table, bins, axis=1).reshape(x.shape)

    def cover(distance, value, edge_mm=2.4, *, slices=...):
        """Blends `value` over the inside of a signed distance in mm."""
        alpha = np.clip(0.5 - distance / edge_mm, 0, 1)
        image[slices] += alpha * (value - image[slices])

    def pool(angle, reach, size, signal):
        """Paints a round vessel with a thin wall, unless its size is 0."""
        along, across = reach * math.cos(angle), reach * math.sin(angle)
        for i in np.flatnonzero(np.asarray(size) > 2):
            away = np.hypot(x[i] - along, y[i] - across) - size[i]
            cover(away - 2, tissues.muscle, slices=i)
            cover(away, signal * (1 + 0.05 * texture[i]), slices=i)

    level = shape.level
    endocardium, epicardium = around(shape.endocardium), around(shape.epicardium)
    right = around(shape.right)
    outer = np.where(right > epicardium + 1, right + 2.5, epicardium)
    slope = np.gradient(shape.endocardium.mean(axis=1)) if len(level) > 1 else 0
    blur = 2.4 + np.clip(0.35 * np.abs(slope), 0, 0.5 * thickness_mm)
    blur = (blur * np.ones(len(level)))[:, None, None].astype(np.float32)

    # Pericardial fat is thickest beside the right ventricle and at the apex.
    angle = np.linspace(-np.pi, np.pi, NUM_ANGLES, endpoint=False)[None, :]
    pad = bump(angle, 0.9, 0.6) + 0.8 * bump(angle, -1.2, 0.5)
    for k, phase in enumerate(heart.fat_phases, start=1):
        pad = pad + 0.3 * np.cos(k * angle + phase)
    pad = heart.fat * np.maximum(pad, 0) * np.minimum(shape.right / 25, 1)
    pad = around(pad)
    base = np.clip(-level, 0, 0.4)[:, None, None] > 0
    outer = np.where(base, 38, outer)
    cover(np.where(outer > 0, radius - outer - pad - 1.2, 1e3), 0.3 * tissues.muscle)
    cover(
        np.where(outer > 0, radius - outer - pad, 1e3),
        tissues.fat * (0.8 + 0.1 * texture),
    )
    cover(np.where(outer > 0, radius - outer - 0.8, 1e3), 0.8 * tissues.muscle)

    # Atria and great vessels, which end below the valve plane.
    above = np.clip((0.1 - level) / 0.15, 0, 1)
    atrium = (level < 0) * heart.atrium
    pool(-2.6, 8.0, 1.1 * atrium, tissues.blood)
    pool(-0.75, 46.0, above * heart.atrium, tissues.right_blood)
    pool(0.45, 46.0, 0.75 * atrium, tissues.right_blood)
    pool(0.85, 42.0, 0.6 * atrium, tissues.right_blood)
    pool(0.3, 16.0, 0.6 * atrium, tissues.blood)

    crescent = np.where(right > epicardium + 1, radius - right, 1e3)
    cover(crescent - 2.5, 0.9 * tissues.muscle)
    # Trabeculae: few at the base, a sponge at the apex.
    sponge = np.clip(texture - 0.7 + 1.4 * level[:, None, None], 0, 1)
    sponge = sponge.astype(np.float32)
    strands = sponge * np.exp(np.minimum(crescent, 0) / 9)
    cover(crescent, tissues.right_blood * (1 - 0.75 * strands) * (1 + 0.04 * texture))
    muscle = tissues.muscle * (1 + 0.08 * texture)
    cover(np.where(epicardium > 0, radius - epicardium, 1e3), muscle, 0.5 + 0.7 * blur)

    cavity = np.where(endocardium > 0, radius - endocardium, 1e3)
    strands = sponge * np.exp(np.minimum(cavity, 0) / 6)
    cover(cavity, tissues.blood * (1 - 0.75 * strands) * (1 + 0.07 * texture), blur)
    tall = np.exp(-(((level - 0.55) / 0.22) ** 4)).astype(np.float32)[:, None, None]
    for direction in heart.papillary_angles:
        along, across = math.cos(direction), math.sin(direction)
        size = heart.papillary_size * tall
        reach = endocardium - 0.9 * size
        away = np.hypot(
            1.0 * (x * along + y * across - reach), 1.25 * (y * along - x * across)
        )
        away = away - size * (1 + 0.25 * texture)
        cover(np.where(cavity < 0, away, 1e3), 1.1 * muscle)

    labels = np.zeros(image.shape, np.uint8)
    labels[(radius < right) & (right > epicardium + 1)] = 1
    labels[radius < epicardium] = 2
    labels[radius < endocardium] = 3
    return labels
