"""Trains the exported U-Net further in PyTorch, with MONAI's transforms and loss.

pix2rep --mode export --format pytorch --workdir RUN/pretrain --output WEIGHTS
python examples/monai_training.py WEIGHTS IMAGES MASKS --classes 4

IMAGES and MASKS hold NIfTI volumes: a mask is NAME.nii.gz or NAME_gt.nii.gz for the
image NAME.nii.gz. Needs torch, safetensors and monai.

MONAI's BasicUNet cannot take the weights: it always has five levels, and its last
upsampling has twice our channels. So the network is that of pytorch_unet.py, with a
head of random weights. MONAI reads, normalises, resamples, augments, and has the loss.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader, list_data_collate
from monai.losses import DiceCELoss
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandFlipd,
    RandScaleIntensityd,
    RandSpatialCropSamplesd,
    ResizeWithPadOrCropd,
    ScaleIntensityRangePercentilesd,
    Spacingd,
    SqueezeDimd,
)
from monai.utils import set_determinism
from pytorch_unet import UNet
from torch import nn

_BOTH = ("image", "label")


def find_pairs(images: Path, masks: Path) -> list[dict[str, str]]:
    """Pairs each image with its mask; an image without one is left out."""
    pairs = []
    for image in sorted(images.rglob("*.nii.gz")):
        name = image.name.removesuffix(".nii.gz")
        found = [
            each for end in ("", "_gt") for each in masks.rglob(f"{name}{end}.nii.gz")
        ]
        found = [each for each in found if each != image]
        if found:
            pairs.append({"image": str(image), "label": str(found[0])})
    return pairs


def make_transforms(how: dict[str, Any], *, slices: int) -> Compose:
    """Prepares volumes as the network's own, and draws slices of each.

    The steps are those of config.json, by MONAI's interpolation: without its low-pass
    filter, so that images differ a little from those of the pretraining.

    Args:
        how: The section `preparation` of config.json.
        slices: Slices that are drawn of a volume.
    """
    if how["normalization"] != "percentiles" or how["slice_axis"]["index"] != 2:
        raise SystemExit(
            "this example is for percentiles, and slices on the third axis"
        )
    low, high = how["percentiles"]
    size, pixel = how["size"], how["spacing_mm"]
    return Compose(
        [
            LoadImaged(_BOTH),
            EnsureChannelFirstd(_BOTH),
            ScaleIntensityRangePercentilesd("image", low, high, 0, 1, clip=True),
            # A spacing of -1 keeps that of the slices.
            Spacingd(_BOTH, pixdim=(pixel, pixel, -1), mode=("bilinear", "nearest")),
            ResizeWithPadOrCropd(_BOTH, spatial_size=(size, size, -1)),
            RandSpatialCropSamplesd(
                _BOTH, roi_size=(size, size, 1), num_samples=slices, random_size=False
            ),
            SqueezeDimd(_BOTH, dim=-1),
            RandFlipd(_BOTH, prob=0.5, spatial_axis=0),
            RandFlipd(_BOTH, prob=0.5, spatial_axis=1),
            RandScaleIntensityd("image", factors=0.2, prob=0.5),
        ]
    )


def main() -> None:
    """Reads the command line, trains and saves a state dict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--classes", type=int, default=4, help="background included")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--most", type=int, default=0, help="volumes; 0 takes all")
    parser.add_argument("--random", action="store_true", help="random weights instead")
    parser.add_argument("--output", type=Path, default=Path("segmenter.pt"))
    given = parser.parse_args()
    set_determinism(0)
    config = json.loads((given.weights / "config.json").read_text("utf-8"))
    net = UNet(**config["network"]) if given.random else UNet.load(given.weights)
    net.head = nn.Conv2d(config["network"]["num_features"], given.classes, 1)
    pairs = find_pairs(given.images, given.masks)[: given.most or None]
    transforms = make_transforms(config["preparation"], slices=4)
    data = CacheDataset(pairs, transforms, progress=False)
    batches = DataLoader(data, batch_size=2, shuffle=True, collate_fn=list_data_collate)
    loss_fn = DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.train()
    for epoch in range(given.epochs):
        losses = []
        for batch in batches:
            loss = loss_fn(net(batch["image"].as_tensor()), batch["label"].as_tensor())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}")
    torch.save(net.state_dict(), given.output)
    print(f"the state dict is in {given.output}")


if __name__ == "__main__":
    main()
