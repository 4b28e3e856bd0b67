"""The augmentation of fine-tuning as one would write it in PyTorch, for a whole batch.

The same transformations as in `pix2rep_jax.views`, with draws of its own.
"""

import torch
from torch.nn import functional

from benchmarks.pytorch_step import grids

__all__ = ["make_augment"]


def make_augment(spatial: dict, intensity: dict):
    """Makes the augmentation of a batch from the settings of `augment`.

    Returns:
        `augment(image, label)` of `[batch, 1, height, width]` images and
        `[batch, height, width]` labels.
    """

    def augment(image, label):
        image = change(image, **intensity)
        matrix = sample_matrix(image, **spatial)
        grid = grids(matrix, image.shape[-1])
        moved = functional.grid_sample(image, grid, align_corners=True)
        labels = functional.grid_sample(
            label[:, None].to(image.dtype), grid, mode="nearest", align_corners=True
        )
        return moved, labels[:, 0].long()

    return augment


def sample_matrix(image, *, max_rotation, extent, flip_probability, max_shift, **_):
    """Draws pull matrices `[batch, 2, 3]` in px."""
    batch, side = len(image), image.shape[-1]
    draw = torch.rand(6, batch, device=image.device)
    angle = (2 * draw[0] - 1) * max_rotation
    scale = extent[0] + draw[1] * (extent[1] - extent[0])
    rows = torch.where(draw[2] < flip_probability / 2, -1.0, 1.0)
    columns = torch.where((draw[2] < flip_probability) & (rows > 0), -1.0, 1.0)
    shift = (2 * draw[3:5] - 1) * max_shift[0] * side
    cos, sin = angle.cos() * scale, angle.sin() * scale
    first = torch.stack([cos * rows, -sin * columns, shift[0]], -1)
    second = torch.stack([sin * rows, cos * columns, shift[1]], -1)
    return torch.stack([first, second], 1)


def change(
    image,
    *,
    max_blur,
    blur_probability,
    max_bias_field,
    bias_field_probability,
    max_noise,
    noise_probability,
    max_gamma,
    gamma_probability,
    max_contrast,
    contrast_probability,
    max_brightness,
    brightness_probability,
    **_,
):
    """Changes the intensities of a batch, every image by strengths of its own."""
    batch, side, device = len(image), image.shape[-1], image.device

    def draw(probability: float, strength: float):
        """Draws strengths in ± one, and 0 for images that stay as they are."""
        value, chance = torch.rand(2, batch, 1, 1, 1, device=device)
        return torch.where(chance < probability, (2 * value - 1) * strength, 0.0)

    # Blur: a kernel an image, so the images become channels of a grouped convolution.
    radius = max(1, round(3 * max_blur))
    offsets = torch.arange(-radius, radius + 1, device=device)
    std = draw(blur_probability, max_blur).abs().view(-1, 1) + 1e-3
    taps = (-0.5 * (offsets / std) ** 2).exp()
    taps = (taps / taps.sum(1, keepdim=True))[:, None]
    x = functional.pad(image.transpose(0, 1), [radius] * 4, mode="replicate")
    x = functional.conv2d(x, taps[:, :, None], groups=batch)
    image = functional.conv2d(x, taps[..., None], groups=batch).transpose(0, 1)
    # Bias field: the exponential of a polynomial of order 3.
    place = torch.linspace(-1, 1, side, device=device)
    powers = [(i, j) for i in range(4) for j in range(4 - i) if i + j]
    terms = torch.stack([place[:, None] ** i * place**j for i, j in powers])
    strength = torch.where(
        torch.rand(batch, 1, device=device) < bias_field_probability, max_bias_field, 0
    )
    weights = (2 * torch.rand(batch, len(powers), device=device) - 1) * strength
    image = image * torch.einsum("bp,phw->bhw", weights, terms).exp()[:, None]
    image = image + draw(noise_probability, max_noise).abs() * torch.randn_like(image)
    gamma = draw(gamma_probability, max_gamma).exp()
    image = image.sign() * image.abs().clamp_min(1e-6) ** gamma
    mean = image.mean((2, 3), keepdim=True)
    image = mean + (image - mean) * (1 + draw(contrast_probability, max_contrast))
    return image + draw(brightness_probability, max_brightness)
