"""The scan of a phantom's patient: planning, coils and receiver."""

import dataclasses
import math

import numpy as np

from pix2rep_jax.data.phantom.canvas import Canvas

__all__ = ["Scan", "draw_scan", "draw_sensitivity", "heart_window", "receive"]


# Rows and columns of the scans, with their share among ACDC's patients.
_SIZES = {
    (216, 256): 0.36, (208, 256): 0.16, (256, 216): 0.13, (232, 256): 0.06,
    (256, 256): 0.05, (192, 256): 0.07, (154, 224): 0.06, (180, 224): 0.06,
    (240, 256): 0.05,
}  # fmt: skip

_SPACINGS_MM = (1.37, 1.41, 1.45, 1.48, 1.5625, 1.64, 1.68, 1.79, 1.88)


@dataclasses.dataclass(frozen=True)
class Scan:
    """How one patient was scanned; angles in rad."""

    size: tuple[int, int]
    spacing_mm: float
    slice_mm: float
    depth: np.ndarray  # [slices], mm below the valve plane
    centre_mm: np.ndarray  # [slices, 2], left ventricle, from the image's centre
    rotation: float  # angle of the patient in the image
    heart_angle: float  # direction of the right ventricle in the patient
    noise: float  # standard deviation; the signal of blood is about 0.8
    gain: float  # stored intensity / signal


def draw_scan(generator: np.random.Generator, heart_length: float) -> Scan:
    """Draws the planning of one patient's scan."""
    sizes = list(_SIZES)
    rows, columns = sizes[generator.choice(len(sizes), p=list(_SIZES.values()))]
    spacing_mm = generator.choice(_SPACINGS_MM) * generator.uniform(0.99, 1.01)
    if generator.uniform() < 0.04:  # a few scans are interpolated much finer
        finer = generator.uniform(0.7, 1.1)
        rows, columns = (round(n * spacing_mm / finer) for n in (rows, columns))
        spacing_mm = finer
    slice_mm = generator.choice((10.0, 5.0, 7.0), p=(0.86, 0.12, 0.02))
    first = generator.uniform(-2, 8)
    num_slices = int((heart_length + generator.uniform(-4, 12) - first) / slice_mm) + 1
    depth = first + slice_mm * np.arange(num_slices)
    middle = depth - depth.mean()
    centre_mm = generator.normal((-10, -2), (12, 15))
    drift = generator.normal(0, 0.09, 2)
    breathing = generator.normal(0, 1.0, (num_slices, 2))
    return Scan(
        size=(rows, columns),
        spacing_mm=float(spacing_mm),
        slice_mm=float(slice_mm),
        depth=depth,
        centre_mm=centre_mm + middle[:, None] * drift + breathing,
        rotation=float(np.clip(generator.normal(-0.7, 0.4), -1.6, 0.3)),
        heart_angle=float(generator.normal(-2.7, 0.15)),
        noise=math.exp(generator.uniform(math.log(0.006), math.log(0.035))),
        gain=math.exp(generator.normal(5.3, 0.5)),
    )


def heart_window(
    generator: np.random.Generator, scan: Scan
) -> tuple[tuple, np.ndarray, np.ndarray]:
    """Returns the part of the scan around the heart, and x and y of the heart there."""
    window, offsets = [slice(None)], []
    for axis, count in enumerate(scan.size):
        position = (np.arange(count) - (count - 1) / 2) * scan.spacing_mm
        centre = scan.centre_mm[:, axis]
        near = np.flatnonzero(np.abs(position - centre.mean()) < 88)
        window.append(slice(near[0], near[-1] + 1))
        offsets.append(position[None, window[-1]] - centre[:, None])
    rows, columns = offsets[0][:, :, None], offsets[1][:, None, :]
    angle = scan.rotation + scan.heart_angle
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = rows * cosine + columns * sine, columns * cosine - rows * sine
    x, y = x.astype(np.float32), y.astype(np.float32)
    # A smooth displacement of a few mm, so that no contour is a perfect curve.
    phase = generator.uniform(0, 2 * np.pi, 4).astype(np.float32)
    wave = generator.uniform(0.04, 0.09, 4).astype(np.float32)
    drift = np.linspace(0, 2, len(x), dtype=np.float32)[:, None, None]
    x, y = (
        x
        + 1.8 * np.sin(wave[0] * y + phase[0] + drift) * np.sin(wave[1] * x + phase[1]),
        y
        + 1.8 * np.sin(wave[2] * x + phase[2] - drift) * np.sin(wave[3] * y + phase[3]),
    )
    return tuple(window), x, y


def draw_sensitivity(generator: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Draws the coils' bias field, with bSSFP's dark bands far from the heart."""
    x, y = canvas.x / 150, canvas.y / 120
    slope = generator.normal((0.0, -0.3), (0.15, 0.2))
    bend = generator.normal(0, 0.1, 3)
    field = slope[0] * x + slope[1] * y + np.tensordot(bend, [x * x, x * y, y * y], 1)
    field = np.exp(canvas.refine(field[None]))
    far = np.hypot(canvas.x - generator.normal(0, 20), canvas.y) / 150
    angle = np.arctan2(canvas.y, canvas.x) - generator.uniform(0, 2 * np.pi)
    phase = canvas.refine((5 * far**4 * (1 + 0.5 * np.cos(angle)))[None])
    band = np.clip(0.25 * phase - 2.0, 0, 1) * generator.uniform(0, 1)
    gain = generator.normal(0, abs(generator.normal(0, 0.05)), len(canvas.image))
    field = field * np.exp(gain, dtype=np.float32)[:, None, None]
    return field * (1 - band * (0.5 + 0.5 * np.cos(phase)) ** 2)


def receive(
    generator: np.random.Generator, signal: np.ndarray, scan: Scan
) -> np.ndarray:
    """Adds the receiver's complex noise and takes the magnitude, which is Rician."""
    real, imaginary = generator.standard_normal((2, *signal.shape), np.float32)
    # Scanners interpolate a little, so neighbouring pixels share their noise.
    for channel in (real, imaginary):
        channel[:, 1:] = 0.7 * (channel[:, 1:] + channel[:, :-1])
        channel[:, :, 1:] = 0.7 * (channel[:, :, 1:] + channel[:, :, :-1])
    real = signal + scan.noise * real
    imaginary *= scan.noise
    return scan.gain * np.sqrt(real * real + imaginary * imaginary)
