"""The surroundings of the phantom's heart: chest wall, lungs, abdomen and vessels."""

import dataclasses

import numpy as np

from pix2rep_jax.data.phantom.canvas import Canvas

__all__ = ["Tissues", "draw_thorax", "draw_tissues"]


@dataclasses.dataclass(frozen=True)
class Tissues:
    """One patient's signal from each tissue; that of blood is about 0.8."""

    blood: float
    right_blood: float
    muscle: float
    fat: float
    liver: float
    lung: float
    organ: float


def draw_tissues(generator: np.random.Generator) -> Tissues:
    """Draws one patient's contrast."""
    blood = generator.uniform(0.6, 0.95)
    muscle = blood * generator.uniform(0.26, 0.47)
    return Tissues(
        blood=blood,
        right_blood=blood * generator.uniform(0.75, 1.02),
        muscle=muscle,
        fat=generator.uniform(0.6, 1.1),
        liver=muscle * generator.uniform(0.75, 1.35),
        lung=generator.uniform(0.04, 0.13),
        organ=generator.uniform(0.3, 0.6),
    )


def _ellipse(x, y, centre, axes, angle=0.0, power=2.0):
    """Computes the signed distance to a superellipse, to first order at its border."""
    along, across = np.cos(angle), np.sin(angle)
    u = (along * (x - centre[0]) + across * (y - centre[1])) / axes[0]
    v = (along * (y - centre[1]) - across * (x - centre[0])) / axes[1]
    u, v = np.abs(u) + 1e-3, np.abs(v) + 1e-3
    value = (u**power + v**power) ** (1 / power)
    u, v = u ** (power - 1) / axes[0], v ** (power - 1) / axes[1]
    slope = np.sqrt(u * u + v * v)
    return (value - 1) * value ** (power - 1) / slope


def draw_thorax(
    generator: np.random.Generator, canvas: Canvas, level: np.ndarray, tissues: Tissues
) -> None:
    """Paints everything but the heart.

    Args:
        generator: Source of this patient's build.
        canvas: Is painted on.
        level: `[slices]`, 0 at the heart's base and 1 at its apex.
        tissues: The patient's contrast.
    """
    uniform = generator.uniform
    z = level[:, None, None].astype(np.float32)

    def wobble(size_mm, wave):
        """A smooth random displacement, so that no border is an ellipse."""
        phase = uniform(0, 2 * np.pi, 4).astype(np.float32)
        wave = (wave * uniform(0.5, 1.3, 4)).astype(np.float32)
        return size_mm * (
            np.sin(wave[0] * canvas.x + phase[0] + z)
            * np.sin(wave[1] * canvas.y + phase[1])
            + 0.4 * np.sin(3 * wave[2] * canvas.x + phase[2] - z)
            * np.sin(3 * wave[3] * canvas.y + phase[3] - 2 * z)
        )  # fmt: skip

    x, y = canvas.x + wobble(9, 0.014), canvas.y + wobble(9, 0.014)
    build = uniform(0.9, 1.08)
    fine = canvas.noise(generator, 3.2, along=0.2)
    coarse = canvas.noise(generator, 11.0, along=0.6)

    # Chest wall: skin, fat, muscle with ribs, cavity.
    half = (212 * build * (1 - 0.1 * z), 166 * build * (1 - 0.05 * z))
    centre = (uniform(-60, -25) - 18 * z, half[1] - uniform(90, 108) + 8 * z)
    body = _ellipse(x, y, centre, half, uniform(-0.15, 0.15), 2.4)
    side = np.arctan2(y - centre[1], x - centre[0])
    fat_mm = uniform(6, 24) * (1 + 0.6 * np.cos(side - uniform(0, 2 * np.pi))) + 5 * z
    fat_mm = np.maximum(fat_mm, 3)
    muscle_mm = uniform(9, 14) * (1 + 0.3 * np.cos(2 * side - uniform(0, 2 * np.pi)))
    muscle = tissues.muscle * (1 + 0.15 * fine + 0.15 * coarse)
    canvas.paint(body, tissues.fat * (1 + 0.07 * coarse))
    canvas.paint(body + fat_mm, muscle, outline=0.5)
    ribs = uniform(13, 17) * side + 1.2 * np.sin(3 * side + uniform(0, 6)) + 9 * z
    ribs = 14 * (uniform(0.2, 0.6) - np.cos(ribs))
    ribs = np.maximum(ribs, np.abs(body + fat_mm + 0.6 * muscle_mm) - 0.3 * muscle_mm)
    canvas.paint(ribs, tissues.fat * uniform(0.3, 0.7), outline=0.6)
    # Fat in front of the heart joins it to the chest wall, most at the apex.
    cavity = body + fat_mm + muscle_mm
    away = (x + uniform(40, 80) - 30 * z) ** 2 + (y + 66 - 22 * z) ** 2
    pad = uniform(0, 26) * np.exp(-away / (2 * uniform(25, 50) ** 2)) * (0.6 + z)
    vessels = np.clip(0.8 * fine + 0.5 * coarse - 2.0, 0, 1) * tissues.blood
    canvas.paint(
        cavity, tissues.fat * uniform(0.5, 0.9) * (1 + 0.1 * coarse), outline=0.4
    )
    canvas.paint(cavity + pad, tissues.lung * (1 + 0.3 * coarse) + vessels, outline=0.3)

    # Under the diaphragm: fat with bowel, liver, stomach, spleen, kidney. Its dome
    # lies against the heart's lower wall and rises from base to apex.
    fall = np.clip(1 - z, 0, 1.2)
    right_fall, left_fall = uniform(0, 25) * fall, uniform(40, 100) * fall
    slope = np.clip((x + 10) / 55, 0, 1)
    left_fall = left_fall - uniform(10, 70) * z
    left = left_fall * slope * slope * (3 - 2 * slope)
    right = right_fall - uniform(0.003, 0.0045) * x * x
    dome = np.maximum(43 + left + np.where(x < 0, right, 0) - y, cavity)
    visceral = tissues.fat * uniform(0.45, 0.95)
    bowel = np.clip(3 * (coarse + uniform(-0.7, 0.5)), 0, 1)
    filling = tissues.organ * uniform(0.5, 1.1) * (1 + 0.2 * fine)
    canvas.paint(dome, visceral + bowel * (filling - visceral), outline=0.5)

    def organ(centre, axes, value, *, angle=0.0, within=cavity, outline=0.6, grow=0.0):
        """Paints an ellipse that is `grow` mm larger at the apex than at the base."""
        centre = [c + uniform(-9, 9) for c in centre]
        axes = [a * uniform(0.85, 1.15) + grow * (z - 0.5) for a in axes]
        angle = angle + uniform(-0.3, 0.3)
        shape = _ellipse(x, y, centre, [np.maximum(a, 1) for a in axes], angle)
        canvas.paint(np.maximum(shape, within), value, outline=outline)

    hepatic = np.clip(2 * (np.abs(coarse + 0.5 * fine) - 1.9), 0, 1)
    vessel = uniform(-0.5, 1.2) * (tissues.blood - tissues.liver)
    liver = tissues.liver * (1 + 0.08 * fine) + hepatic * vessel
    organ((-105, 75), (105, 88), liver, angle=-0.2, within=dome, grow=22)
    if uniform() < 0.8:
        content = tissues.organ * uniform(0.3, 1.7) * (1 + 0.2 * coarse)
        organ((38, 88), (34, 24), content, angle=0.4, within=dome)
    if uniform() < 0.8:
        spleen = tissues.muscle * uniform(1.0, 1.6) * (1 + 0.06 * fine)
        organ((88, 92), (32, 20), spleen, angle=-0.9, within=dome)
    if uniform() < 0.6:
        place = (uniform(20, 70), uniform(112, 130))
        organ(place, (25, 17), tissues.organ * (1 + 0.1 * fine), within=dome)
        organ(place, (10, 5), tissues.fat * 0.8, within=dome)

    # Mediastinum and spine, with the blood pools that are not the heart.
    soft = tissues.muscle * (1.1 + 0.12 * coarse + 0.1 * fine)
    organ((-35, 68), (30, 42), soft, grow=-30, outline=0.3)
    organ((-48, 122), (20, 17), tissues.liver * (1.2 + 0.15 * fine))
    organ((-50, 147), (8, 6), 1.1 * tissues.blood, outline=0.3)
    organ((-18, 98), (11.5, 11), tissues.blood * uniform(0.7, 1.1))
    organ((-66, 66), (13, 9), tissues.blood * uniform(0.5, 1.0))
    if uniform() < 0.5:
        organ((-30, 84), (6, 5), tissues.muscle)
    if uniform() < 0.15:
        arm = (centre[0] + 215 * build, centre[1] + uniform(-20, 60))
        organ(arm, (30, 38), tissues.fat, within=-1e3)
        organ(arm, (22, 30), tissues.muscle, within=-1e3)
