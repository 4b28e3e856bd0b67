"""The phantom's surroundings of the heart: chest wall, lungs, abdomen and vessels."""

import dataclasses

import numpy as np

from pix2rep_jax.data.canvas import Canvas

__all__ = ["Tissues", "draw_thorax", "draw_tissues"]


@dataclasses.dataclass(frozen=True)
class Tissues:
    """One patient's signal of each tissue; blood of the left ventricle is about 0.7."""

    blood: float
    right_blood: float
    muscle: float
    fat: float
    liver: float
    lung: float
    organ: float


def draw_tissues(generator: np.random.Generator) -> Tissues:
    """Draws one patient's contrast."""
    blood = generator.uniform(0.55, 0.85)
    muscle = blood * generator.uniform(0.27, 0.5)
    return Tissues(
        blood=blood,
        right_blood=blood * generator.uniform(0.75, 1.02),
        muscle=muscle,
        fat=generator.uniform(0.6, 1.1),
        liver=muscle * generator.uniform(0.75, 1.35),
        lung=generator.uniform(0.02, 0.09),
        organ=generator.uniform(0.3, 0.6),
    )


def _ellipse(x, y, centre, axes, angle=0.0, power=2.0):
    """Signed distance of a (super)ellipse, exact on its border's first order."""
    along, across = np.cos(angle), np.sin(angle)
    u = (along * (x - centre[0]) + across * (y - centre[1])) / axes[0]
    v = (along * (y - centre[1]) - across * (x - centre[0])) / axes[1]
    u, v = np.abs(u) + 1e-3, np.abs(v) + 1e-3
    value = (u**power + v**power) ** (1 / power)
    slope = np.hypot(u ** (power - 1) / axes[0], v ** (power - 1) / axes[1])
    return (value - 1) * value ** (power - 1) / np.maximum(slope, 1e-3)


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

    def wobble(size_mm):
        """A smooth random displacement, so that no border is an ellipse."""
        phase = uniform(0, 2 * np.pi, (4,)).astype(np.float32)
        wave = uniform(0.015, 0.04, (4,)).astype(np.float32)
        return size_mm * (
            np.sin(wave[0] * canvas.x + phase[0] + z)
            * np.sin(wave[1] * canvas.y + phase[1])
            + 0.6 * np.sin(2.3 * wave[2] * canvas.x + phase[2])
            * np.sin(2.3 * wave[3] * canvas.y + phase[3] - 2 * z)
        )  # fmt: skip

    x, y = canvas.x + wobble(5), canvas.y + wobble(5)
    build = uniform(0.88, 1.08)
    fine = canvas.noise(generator, 2.5, along=0.2)
    coarse = canvas.noise(generator, 11.0, along=0.6)

    # Chest wall: skin, fat, muscle with ribs, cavity.
    half = (200 * build * (1 - 0.1 * z), 150 * build * (1 - 0.05 * z))
    centre = (uniform(-60, -30) - 18 * z, half[1] - uniform(94, 112) + 8 * z)
    body = _ellipse(x, y, centre, half, uniform(-0.15, 0.15), 2.4)
    fat_mm = uniform(6, 22)
    side = np.arctan2(y - centre[1], x - centre[0])
    fat_mm = fat_mm * (1 + 0.35 * np.cos(side - uniform(0, 6.3))) + 4 * z
    muscle_mm = uniform(9, 15)
    canvas.paint(body, tissues.fat * (1 + 0.06 * coarse))
    canvas.paint(body + fat_mm, tissues.muscle * (1 + 0.1 * fine), outline=0.5)
    ribs = np.cos(uniform(15, 19) * side + 9 * z + uniform(0, 6.3))
    ribs = np.maximum(np.abs(body + fat_mm + 0.6 * muscle_mm) - 4.5, 14 * (0.2 - ribs))
    canvas.paint(ribs, tissues.fat * uniform(0.35, 0.8), outline=0.6)
    cavity = body + fat_mm + muscle_mm
    vessels = np.clip(1.5 * (0.8 * fine + 0.5 * coarse - 2.1), 0, 1) * tissues.blood
    canvas.paint(cavity, tissues.lung * (1 + 0.25 * coarse) + vessels, outline=0.3)

    # Under the diaphragm's dome: fat with bowel, liver, stomach, spleen, kidney.
    rise = uniform(95, 130) - uniform(70, 95) * np.clip(z, -0.2, 1.1)
    dome = rise + 0.0012 * (x - 25) ** 2 - 0.25 * np.minimum(x, 0) - y
    dome = np.maximum(dome * 0.8, cavity)
    visceral = tissues.fat * uniform(0.45, 0.95)
    bowel = np.clip(3 * (coarse + uniform(-0.7, 0.5)), 0, 1)
    filling = tissues.organ * uniform(0.5, 1.1) * (1 + 0.2 * fine)
    canvas.paint(dome, visceral + bowel * (filling - visceral), outline=0.5)

    def organ(centre, axes, value, *, angle=0.0, within=cavity, outline=0.6, grow=0.0):
        """One ellipse, `grow` mm larger at the apex than at the base."""
        centre = [c + uniform(-9, 9) for c in centre]
        axes = [a * uniform(0.85, 1.15) + grow * (z - 0.5) for a in axes]
        angle = angle + uniform(-0.3, 0.3)
        shape = _ellipse(x, y, centre, [np.maximum(a, 1) for a in axes], angle)
        canvas.paint(np.maximum(shape, within), value, outline=outline)

    hepatic = np.clip(2 * (np.abs(coarse + 0.5 * fine) - 1.9), 0, 1)
    vessel = uniform(-0.5, 1.2) * (tissues.blood - tissues.liver)
    liver = tissues.liver * (1 + 0.08 * fine) + hepatic * vessel
    organ((-98, 62), (72, 62), liver, angle=-0.3, grow=22, outline=0.5)
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
    soft = tissues.muscle * (1.1 + 0.25 * coarse)
    organ((-38, 62), (34, 52), soft, grow=-14, outline=0.3)
    organ((-48, 122), (20, 17), tissues.liver * (1.2 + 0.15 * fine))
    organ((-50, 147), (8, 6), 1.1 * tissues.blood, outline=0.3)
    organ((-18, 98), (11.5, 11), tissues.blood * uniform(0.7, 1.1))
    organ((-66, 66), (13, 9), tissues.blood * uniform(0.5, 1.0))
    if uniform() < 0.5:
        organ((-30, 84), (6, 5), tissues.muscle)
    if uniform() < 0.25:
        arm = (centre[0] + 215 * build, centre[1] + uniform(-20, 60))
        organ(arm, (30, 38), tissues.fat, within=-1e3)
        organ(arm, (22, 30), tissues.muscle, within=-1e3)
