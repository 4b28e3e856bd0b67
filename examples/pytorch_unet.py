"""The U-Net of pix2rep-jax in PyTorch: `UNet.load(folder)` reads an export.

pix2rep --mode export --format pytorch --workdir runs/pix2rep --output FOLDER

Needs torch and safetensors. It takes `[batch, channels, height, width]`.
"""

import itertools
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn


def double_conv(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Makes two times convolution, BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for before, after in ((inputs, hidden), (hidden, outputs)):
        layers.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Maps images to features, or with `num_classes` to logits."""

    def __init__(
        self, channels, in_channels, num_features, last_hidden, num_classes=None, **_
    ):
        super().__init__()
        self.encode, self.up, self.decode = (nn.ModuleList() for _ in range(3))
        for before, after in itertools.pairwise([in_channels, *channels]):
            self.encode.append(double_conv(before, after, after))
        for level, (fine, coarse) in enumerate(itertools.pairwise(channels)):
            self.up.append(nn.ConvTranspose2d(coarse, fine, 2, stride=2))
            ends = (fine, fine) if level else (last_hidden, num_features)
            self.decode.append(double_conv(2 * fine, *ends))
        self.head: nn.Module = nn.Identity()
        if num_classes:
            self.head = nn.Conv2d(num_features, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[batch, channels, height, width]` to features or logits."""
        skips = []
        for level, block in enumerate(self.encode):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.decode[level](torch.cat([skips[level], self.up[level](x)], 1))
        return self.head(x)

    @classmethod
    def load(cls, folder: str | Path) -> "UNet":
        """Loads a folder of `--mode export --format pytorch`, ready to predict."""
        config = json.loads((Path(folder) / "config.json").read_text("utf-8"))
        net = cls(**config["network"])
        net.load_state_dict(load_file(Path(folder) / config["file"]))
        return net.eval()
