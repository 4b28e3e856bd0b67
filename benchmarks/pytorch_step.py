"""Pix2Rep's step as one would write it in PyTorch, to be compared with.

The same U-Net in channels_last, affine_grid and grid_sample for φ, the whole 2N x 2N
matrix of the InfoNCE loss, Barlow Twins over all valid pixels, fused Adam.
"""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Pix2RepNet", "load_flax", "make_loss", "make_step"]


class DoubleConv(nn.Sequential):
    """Twice: 3 x 3 convolution without bias, BatchNorm, ReLU."""

    def __init__(self, inputs: int, hidden: int, features: int):
        super().__init__(
            nn.Conv2d(inputs, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(inplace=True),
        )


class Pix2RepNet(nn.Module):
    """U-Net and projection head, as `pix2rep_jax.unet` has them."""

    def __init__(self, channels, num_features, last_hidden, hidden, features):
        super().__init__()
        inputs = (1, *channels[:-1])
        self.encode = nn.ModuleList(
            DoubleConv(i, c, c) for i, c in zip(inputs, channels, strict=True)
        )
        levels = range(len(channels) - 1)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(channels[i + 1], channels[i], 2, stride=2)
            for i in levels
        )
        self.decode = nn.ModuleList(
            DoubleConv(
                2 * channels[i],
                channels[i] if i else last_hidden,
                channels[i] if i else num_features,
            )
            for i in levels
        )
        self.project = nn.Sequential(
            nn.Conv2d(num_features, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, features, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[batch, 1, height, width]` to `[batch, d, height, width]`."""
        skips = []
        for level, block in enumerate(self.encode):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for level in reversed(range(len(self.up))):
            x = self.decode[level](torch.cat([skips.pop(), self.up[level](x)], dim=1))
        return self.project(x)


def load_flax(net: Pix2RepNet, params) -> None:
    """Gives a network the parameters (numpy arrays) of a `pix2rep_jax` one."""
    backbone, projection = params["backbone"], params["projection"]
    for kind in ("encode", "decode"):
        for level, block in enumerate(getattr(net, kind)):
            part = backbone[f"{kind}_{level}"]
            for index in (0, 1):
                kernel = part[f"Conv_{index}"]["kernel"]
                _set(block[3 * index].weight, kernel.transpose(3, 2, 0, 1))
                norm = part[f"BatchNorm_{index}"]
                _set(block[3 * index + 1].weight, norm["scale"])
                _set(block[3 * index + 1].bias, norm["bias"])
    for level, up in enumerate(net.up):
        part = backbone[f"up_{level}"]
        _set(up.weight, part["kernel"].transpose(0, 3, 1, 2))
        _set(up.bias, part["bias"])
    for index in (0, 1):
        dense = projection[f"Dense_{index}"]
        _set(net.project[2 * index].weight, dense["kernel"].T[:, :, None, None])
        _set(net.project[2 * index].bias, dense["bias"])


def _set(parameter: torch.Tensor, value) -> None:
    with torch.no_grad():
        parameter.copy_(torch.tensor(value))


def grids(matrix: torch.Tensor, size: int) -> torch.Tensor:
    """Turns pull matrices in px `[batch, 2, 3]` into sampling grids."""
    rows, columns = matrix[:, 0], matrix[:, 1]
    half = (size - 1) / 2
    theta = torch.stack(
        [
            torch.stack([columns[:, 1], columns[:, 0], columns[:, 2] / half], -1),
            torch.stack([rows[:, 1], rows[:, 0], rows[:, 2] / half], -1),
        ],
        1,
    )
    return functional.affine_grid(
        theta, (len(matrix), 1, size, size), align_corners=True
    )


def info_nce(u: torch.Tensor, v: torch.Tensor, temperature: float) -> torch.Tensor:
    """Contrasts `[N, d]` pairs over the whole 2N x 2N matrix."""
    z = functional.normalize(torch.cat([u, v]), dim=1)
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(z), device=z.device).roll(len(u))
    return functional.cross_entropy(similarity, partner)


def barlow_twins(u: torch.Tensor, v: torch.Tensor, weight: float) -> torch.Tensor:
    """Draws the cross-correlation of `[N, d]` pairs to the identity."""
    standardise = lambda x: (  # noqa: E731
        (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-8).sqrt()
    )
    correlation = standardise(u).T @ standardise(v) / len(u)
    diagonal = torch.diagonal(correlation)
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + weight * off_diagonal


def make_loss(net, *, loss: str, temperature: float, off_diagonal_weight: float):
    """Makes the loss of two intensity views `[batch, 1, height, width]`.

    Returns:
        `loss_fn(image_a, image_b, matrix, points, valid)`: the second view is moved
        by φ before the network, and the embedding map of the first one after it;
        they are compared at the flat pixels `points` `[batch, M]` where `valid`.
    """

    def loss_fn(image_a, image_b, matrix, points, valid):
        grid = grids(matrix, image_a.shape[-1])
        moved = functional.grid_sample(image_b, grid, align_corners=True)
        z = net(torch.cat([image_a, moved]))
        z_a, z_b = z.float().chunk(2)
        z_a = functional.grid_sample(z_a, grid, align_corners=True)
        rows = [x.permute(0, 2, 3, 1).flatten(1, 2) for x in (z_a, z_b)]
        if loss == "info_nce":
            index = points[..., None].expand(-1, -1, rows[0].shape[-1])
            u, v = (x.gather(1, index).flatten(0, 1) for x in rows)
            return info_nce(u, v, temperature)
        u, v = (x[valid] for x in rows)
        return barlow_twins(u, v, off_diagonal_weight)

    return loss_fn


def make_step(net, loss_fn, *, learning_rate: float, autocast: bool = False):
    """Makes one Adam step on fixed arguments of the loss; returns the loss."""
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate, fused=True)
    device = next(net.parameters()).device.type

    def step(*arguments) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            value = loss_fn(*arguments)
        value.backward()
        optimizer.step()
        return value.detach()

    return step
