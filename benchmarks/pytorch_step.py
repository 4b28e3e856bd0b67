"""The steps of pretraining and fine-tuning as one would write them in PyTorch.

The same U-Net in channels_last, affine_grid and grid_sample for φ, the whole 2N x 2N
matrix of the InfoNCE loss, Barlow Twins over all valid pixels, fused Adam.
"""

import torch
from torch import nn
from torch.nn import functional

__all__ = [
    "load_flax",
    "make_finetuning_loss",
    "make_loss",
    "make_net",
    "make_step",
]


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


class UNet(nn.Module):
    """The backbone, as `pix2rep_jax.models.unet` has it."""

    def __init__(self, channels, num_features, last_hidden):
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[batch, 1, height, width]` to `[batch, features, height, width]`."""
        skips = []
        for level, block in enumerate(self.encode):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for level in reversed(range(len(self.up))):
            x = self.decode[level](torch.cat([skips.pop(), self.up[level](x)], dim=1))
        return x


def make_net(channels, num_features, last_hidden, head) -> nn.Sequential:
    """Makes the backbone with a head: widths of its layers, with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((num_features, *head[:-1]), head, strict=True):
        layers += [nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True)]
    return nn.Sequential(
        UNet(channels, num_features, last_hidden), nn.Sequential(*layers[:-1])
    )


def load_flax(net: nn.Sequential, params) -> None:
    """Gives a network the parameters (numpy arrays) of a `pix2rep_jax` one."""
    unet, head = net
    backbone = params["backbone"]
    for kind in ("encode", "decode"):
        for level, block in enumerate(getattr(unet, kind)):
            part = backbone[f"{kind}_{level}"]
            for index in (0, 1):
                kernel = part[f"Conv_{index}"]["kernel"]
                _set(block[3 * index].weight, kernel.transpose(3, 2, 0, 1))
                norm = part[f"BatchNorm_{index}"]
                _set(block[3 * index + 1].weight, norm["scale"])
                _set(block[3 * index + 1].bias, norm["bias"])
    for level, up in enumerate(unet.up):
        part = backbone[f"up_{level}"]
        _set(up.weight, part["kernel"].transpose(0, 3, 1, 2))
        _set(up.bias, part["bias"])
    dense = params["projection"] if "projection" in params else params["head"]
    for index, layer in enumerate(head[::2]):
        _set(layer.weight, dense[f"Dense_{index}"]["kernel"].T[:, :, None, None])
        _set(layer.bias, dense[f"Dense_{index}"]["bias"])


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


def make_loss(
    net,
    *,
    loss: str,
    temperature: float,
    off_diagonal_weight: float,
    joint_batch_norm: bool,
):
    """Makes the loss of two intensity views `[batch, 1, height, width]`.

    With `joint_batch_norm` both views pass through the network together.

    Returns:
        `loss_fn(image_a, image_b, matrix, points, valid)`: the second view is moved
        by φ before the network, and the embedding map of the first one after it;
        they are compared at the flat pixels `points` `[batch, M]` where `valid`.
    """

    def loss_fn(image_a, image_b, matrix, points, valid):
        grid = grids(matrix, image_a.shape[-1])
        moved = functional.grid_sample(image_b, grid, align_corners=True)
        if joint_batch_norm:
            z_a, z_b = net(torch.cat([image_a, moved])).float().chunk(2)
        else:
            z_a, z_b = net(image_a).float(), net(moved).float()
        z_a = functional.grid_sample(z_a, grid, align_corners=True)
        rows = [x.permute(0, 2, 3, 1).flatten(1, 2) for x in (z_a, z_b)]
        if loss == "info_nce":
            index = points[..., None].expand(-1, -1, rows[0].shape[-1])
            u, v = (x.gather(1, index).flatten(0, 1) for x in rows)
            return info_nce(u, v, temperature)
        u, v = (x[valid] for x in rows)
        return barlow_twins(u, v, off_diagonal_weight)

    return loss_fn


def make_finetuning_loss(net, augment):
    """Makes the loss of labelled images: cross-entropy plus soft Dice.

    Args:
        net: Backbone and segmentation head.
        augment: Moves and changes `[batch, 1, height, width]` images with their labels
            `[batch, height, width]`.
    """

    def loss_fn(image, label):
        image, label = augment(image, label)
        logits = net(image).float()
        p = logits.softmax(1)
        y = functional.one_hot(label, p.shape[1]).permute(0, 3, 1, 2).to(p.dtype)
        sums = (p + y).sum((0, 2, 3))
        dice = (2 * (p * y).sum((0, 2, 3)) + 1e-5) / (sums + 1e-5)
        return functional.cross_entropy(logits, label) + 1 - dice.mean()

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
