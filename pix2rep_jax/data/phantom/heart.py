"""The phantom's ventricles: contours in polar coordinates about the left one's axis.

A contour is a function of the angle from the right ventricle's direction and of the
depth below the valve plane, so a slice is a few lookups. Lengths are in mm, volumes in
ml, angles in rad.
"""

import dataclasses

import numpy as np

__all__ = ["NUM_ANGLES", "Contours", "Heart", "bump", "contours", "draw_heart"]

NUM_ANGLES = 360


# For each group the mean and the standard deviation of five quantities: the left
# ventricle's volume at end diastole, its ejection fraction and its wall, and the right
# ventricle's volume and ejection fraction. ACDC's patients have about these values.
_GROUPS = {
    "DCM": ((275, 45), (0.20, 0.07), (7.8, 0.9), (175, 55), (0.30, 0.10)),
    "HCM": ((128, 28), (0.67, 0.06), (11.3, 1.6), (122, 28), (0.60, 0.06)),
    "MINF": ((170, 36), (0.33, 0.07), (8.6, 0.9), (122, 30), (0.53, 0.08)),
    "NOR": ((130, 25), (0.60, 0.05), (7.7, 0.9), (150, 32), (0.54, 0.06)),
    "RV": ((108, 28), (0.55, 0.07), (6.7, 0.8), (198, 42), (0.32, 0.08)),
}


@dataclasses.dataclass(frozen=True)
class Heart:
    """The numbers that shape one patient's ventricles; `contours` uses them."""

    volume: float
    ejection_fraction: float
    wall: float
    length: float
    right_volume: float
    right_ejection_fraction: float
    septal_thickening: float
    septal_flattening: float
    scar_depth: float
    scar_angle: float
    scar_level: float
    right_span: float
    right_shape: np.ndarray
    twist: float
    descent: float
    harmonics: np.ndarray
    papillary_angles: np.ndarray
    papillary_size: float
    atrium: float
    fat: float
    fat_phases: np.ndarray


@dataclasses.dataclass(frozen=True)
class Contours:
    """Radii `[slices, NUM_ANGLES]` from the left ventricle's axis, in mm.

    `level` is 0 at the valve plane and 1 at the cavity's apex; above the valve plane it
    is negative. If a structure is absent from a slice, its radius is 0 or that of the
    next inner one.
    """

    level: np.ndarray
    endocardium: np.ndarray
    epicardium: np.ndarray
    right: np.ndarray


def draw_heart(generator: np.random.Generator, group: str) -> Heart:
    """Draws the ventricles of one patient from one of ACDC's groups."""

    def normal(mean, std):
        return mean + std * np.clip(generator.standard_normal(), -2, 2)

    volume, fraction, wall, right, right_fraction = (
        normal(*pair) for pair in _GROUPS[group]
    )
    hypertrophic, infarcted = group == "HCM", group == "MINF"
    return Heart(
        volume=volume,
        ejection_fraction=max(fraction, 0.06),
        wall=wall,
        length=normal(86, 6) * (volume / 135) ** 0.2,
        right_volume=right,
        right_ejection_fraction=max(right_fraction, 0.08),
        septal_thickening=generator.uniform(0.2, 0.8) if hypertrophic else 0.0,
        septal_flattening=(
            generator.uniform(0.08, 0.22) if group == "RV" else normal(0.02, 0.02)
        ),
        scar_depth=generator.uniform(0.3, 0.55) if infarcted else 0.0,
        scar_angle=generator.uniform(-np.pi, np.pi),
        scar_level=generator.uniform(0.35, 0.8),
        right_span=normal(1.22, 0.1),
        right_shape=generator.uniform((1.6, 0.65, 0.0, 0.2), (2.6, 1.1, 0.5, 0.9)),
        twist=normal(0.0, 0.15),
        descent=normal(4.0, 2.0) * min(1.0, fraction / 0.5),
        harmonics=0.035 * generator.standard_normal((2, 5)),
        papillary_angles=np.array([normal(1.95, 0.25), normal(-2.05, 0.25)]),
        papillary_size=generator.uniform(5, 9),
        atrium=normal(24, 3),
        fat=generator.uniform(1, 11),
        fat_phases=generator.uniform(0, 2 * np.pi, 3),
    )


def bump(angle: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Computes a smooth hill of height 1 on the circle."""
    return np.exp((np.cos(angle - centre) - 1) / width**2)


def _radius(volume: float, length: float) -> float:
    """Computes the cavity's radius at the valve plane for the profile in `contours`."""
    return np.sqrt(1000 * volume / (np.pi * length * 0.69))


def contours(heart: Heart, depth: np.ndarray, *, systole: bool) -> Contours:
    """Evaluates the ventricles on slices.

    At end systole the cavity has lost its ejection fraction, and the valve plane has
    descended. The wall is thicker, so that its mass stays the same. A scar does not
    move.

    Args:
        heart: One patient's ventricles.
        depth: `[slices]`, mm below the valve plane at end diastole.
        systole: Whether to draw end systole instead of end diastole.

    Returns:
        The contours of every slice.
    """
    angle = np.linspace(-np.pi, np.pi, NUM_ANGLES, endpoint=False)[None, :]
    rest_radius = _radius(heart.volume, heart.length)
    base, length, radius, wall = 0.0, heart.length, rest_radius, heart.wall
    right_volume = heart.right_volume
    if systole:
        base = heart.descent
        length = length - base
        radius = _radius(heart.volume * (1 - heart.ejection_fraction), length)
        area = 1.08 * wall * (2 * rest_radius + wall) * heart.length / length
        wall = np.sqrt(radius**2 + area) - radius
        right_volume *= 1 - heart.right_ejection_fraction
    shape = 1 - heart.septal_flattening * bump(angle, 0.0, 0.7)
    for k, (cosine, sine) in enumerate(heart.harmonics.T, start=2):
        shape = shape + (cosine * np.cos(k * angle) + sine * np.sin(k * angle)) / k

    def left(level):
        """Computes the left ventricle's inner and outer radius."""
        inside = np.clip(level, 0, 1)
        profile = (1 - inside**2.6) ** 0.6
        scar = bump(angle, heart.scar_angle, 0.8) * (heart.scar_depth > 0)
        scar = scar * np.exp(-(((inside - heart.scar_level) / 0.35) ** 2))
        moved = radius + 0.9 * scar * max(rest_radius - radius, 0)
        thickness = wall * (1.05 - 0.4 * inside**2)
        thickness = thickness * (1 + heart.septal_thickening * bump(angle, 0.2, 0.8))
        thinned = (1 - heart.scar_depth) * np.minimum(thickness, heart.wall)
        thickness = thickness + scar * (thinned - thickness)
        # Below the cavity's apex a cap of muscle closes the ventricle.
        beyond = np.maximum((level - 1) * length / wall, 0)
        cap = np.sqrt(np.maximum(1 - beyond**2, 0))
        inner = moved * profile * shape
        return inner, (inner + thickness) * cap

    def crescent(level):
        """Computes the right ventricle's thickness, up to its scale."""
        inside = np.clip(level, 0, 1)
        span = heart.right_span * (1.08 - 0.55 * inside**1.5)
        turned = np.mod(angle - heart.twist * inside + np.pi, 2 * np.pi) - np.pi
        broad, pointed, margin, outflow = heart.right_shape
        lens = np.maximum(1 - (np.abs(turned) / span) ** broad, 0) ** pointed
        margin = margin * bump(turned, -0.55, 0.35)
        outflow = outflow * bump(turned, 0.75, 0.5) * np.maximum(1 - inside / 0.4, 0)
        along = np.maximum(1 - (inside / 0.9) ** 3, 0) ** 0.6
        return along * lens * (1 + margin + outflow)

    # The scale that gives the right ventricle its volume solves a quadratic equation.
    levels = (np.arange(24)[:, None] + 0.5) / 24
    weight = crescent(levels)
    square = np.pi * length * np.mean(weight**2)
    linear = np.pi * length * np.mean(2 * weight * left(levels)[1])
    root = np.sqrt(linear**2 + 4 * square * 1000 * right_volume)
    scale = (root - linear) / (2 * square)

    level = ((depth - base) / length)[:, None]
    endocardium, epicardium = left(level)
    present = (level >= 0) & (epicardium > 0)
    right = epicardium + scale * crescent(level)
    return Contours(
        level=level[:, 0],
        endocardium=np.where(present, endocardium, 0.0),
        epicardium=np.where(present, epicardium, 0.0),
        right=np.where(present, right, 0.0),
    )
