"""A stack of slices on which the phantom's shapes are painted.

Shapes are signed distances in mm, negative inside. They are evaluated on a coarse grid
and brought to the scan's grid by cubic interpolation, which keeps their edges sharp.

The cubic interpolation is written here instead of taken from SciPy. The phantom's
bytes, and with them published numbers, depend on it.
"""

import numpy as np

__all__ = ["Canvas"]

_COARSE_MM = 5.0


class Canvas:
    """A stack of slices that shapes are painted on.

    Attributes:
        image: `[slices, rows, columns]`.
        x: `[coarse rows, coarse columns]`, mm from the heart to the patient's left.
        y: `[coarse rows, coarse columns]`, mm from the heart to the patient's back.
    """

    def __init__(self, num_slices, size, spacing_mm, centre_mm, rotation):
        """Makes an empty canvas: air.

        Args:
            num_slices: Number of slices.
            size: Number of rows and of columns.
            spacing_mm: Distance of pixels, mm.
            centre_mm: Position of the heart from the image's centre, along rows and
                columns, mm.
            rotation: Angle of the patient in the image, rad.
        """
        self.image = np.zeros((num_slices, *size), np.float32)
        self.spacing_mm = spacing_mm
        axes, self._taps = [], []
        for count, centre in zip(size, centre_mm, strict=True):
            coarse = int(np.ceil(count * spacing_mm / _COARSE_MM)) + 3
            position = (np.arange(count) - (count - 1) / 2) * (spacing_mm / _COARSE_MM)
            self._taps.append(_cubic_taps(position + (coarse - 1) / 2))
            axes.append((np.arange(coarse) - (coarse - 1) / 2) * _COARSE_MM - centre)
        cosine, sine = np.cos(rotation), np.sin(rotation)
        row, column = axes[0][:, None], axes[1][None, :]
        self.x = (cosine * row + sine * column).astype(np.float32)
        self.y = (cosine * column - sine * row).astype(np.float32)

    def refine(self, coarse: np.ndarray) -> np.ndarray:
        """Interpolates `[slices, coarse rows, coarse columns]` to the scan's grid."""
        return _interpolate(coarse, *self._taps)

    def paint(self, distance, value, *, outline=0.0, edge_mm=2.8):
        """Covers the inside of a shape.

        Args:
            distance: `[slices, coarse rows, coarse columns]`, mm, negative inside.
            value: Signal, a number or an array of the scan's shape.
            outline: Share of the signal that is lost on the border (chemical shift).
            edge_mm: Width over which the border is blended, mm.
        """
        near = (distance < 4).any(axis=0)
        slices, taps = [slice(None)], []
        for axis, (nodes, weights) in enumerate(self._taps):
            # A pixel is touched if one of its four nodes is near the shape.
            touched = np.flatnonzero(near.any(axis=1 - axis)[nodes].any(axis=0))
            if not touched.size:
                return
            slices.append(slice(touched[0], touched[-1] + 1))
            taps.append((nodes[:, slices[-1]], weights[:, slices[-1]]))
        box = tuple(slices)
        distance, image = _interpolate(distance, *taps), self.image[box]
        if not np.isscalar(value):
            value = value[box]
        image += np.clip(0.5 - distance / edge_mm, 0, 1) * (value - image)
        if outline:
            image *= 1 - outline * np.clip(1 - np.abs(distance) / 1.8, 0, 1)

    def noise(self, generator, scale_mm, *, along=0.5):
        """Draws a smooth random field of unit variance on the scan's grid.

        Args:
            generator: Source of randomness.
            scale_mm: Correlation length in the plane, mm.
            along: Correlation between neighbouring slices.
        """
        ratio = self.spacing_mm / scale_mm
        counts = self.image.shape[1:]
        size = [int(np.ceil(count * ratio)) + 3 for count in counts]
        nodes = generator.standard_normal((len(self.image), *size), np.float32)
        for i in range(1, len(nodes)):
            nodes[i] = along * nodes[i - 1] + (1 - along**2) ** 0.5 * nodes[i]
        taps = [_cubic_taps(np.arange(count) * ratio + 1) for count in counts]
        return 1.4 * _interpolate(nodes, *taps)


def _cubic_taps(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the four nodes and weights (Catmull-Rom) of each position."""
    first = np.floor(position).astype(int) - 1
    t = position - first - 1
    weights = [
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    ]
    return first + np.arange(4)[:, None], np.array(weights, np.float32)


def _interpolate(nodes: np.ndarray, rows: tuple, columns: tuple) -> np.ndarray:
    """Applies taps along columns, then along rows.

    Matrix products would start threads, which fight for the cores.
    """
    nodes = nodes.astype(np.float32, copy=False)
    wide = sum(w * nodes[:, :, i] for i, w in zip(*columns, strict=True))
    return sum(w[:, None] * wide[:, i, :] for i, w in zip(*rows, strict=True))
