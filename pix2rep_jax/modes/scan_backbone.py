"""The network whose features embed and explore take from a workdir."""

import contextlib
import shlex
import sys
from pathlib import Path

from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.runs.start import SEGMENTERS, find_pretraining, find_segmenters
from pix2rep_jax.wording import for_caller

__all__ = ["find_backbone", "is_segmenter", "load_backbone"]


def load_backbone(
    config: ConfigDict, workdir: str | Path, embedding: str | None
) -> tuple[Path, Backbone]:
    """Loads the backbone of the latest stage that was trained, and says which it is.

    Args:
        config: Its `init.checkpoint` names the run to use if the workdir has none.
        workdir: A workdir, or the folder of one of its modes.
        embedding: "features" or "projection". None takes the projection of a
            pretraining that has one, and else features.

    Returns:
        The folder of the run, and its backbone.

    Raises:
        InputError: If there is no run, or if it has no such embedding.
    """
    folder = find_backbone(workdir, config.init.checkpoint, embedding)
    if is_segmenter(folder):
        backbone = Backbone.of_segmenter(folder, keep=config.segmentation.keep)
    elif embedding is not None:
        backbone = Backbone.load(folder, embedding=embedding)
    else:
        try:
            backbone = Backbone.load(folder, embedding="projection")
        except InputError:  # its method may compare no pixels
            backbone = Backbone.load(folder, embedding="features")
    print(f"{backbone.embedding} of the network in {folder}")
    beside = folder.parent / "pretrain"
    if is_segmenter(folder) and (beside / "config.json").is_file():
        note = (
            f"note: this is the network of {folder.name}; --workdir="
            f"{shlex.quote(str(beside))} takes that of the pretraining"
        )
        print(for_caller(note), file=sys.stderr)
    return folder, backbone


def find_backbone(
    workdir: str | Path, checkpoint: str, embedding: str | None = None
) -> Path:
    """Finds the fine-tuning of a workdir, or else its probe, or else its pretraining.

    Args:
        workdir: It comes first.
        checkpoint: The setting `init.checkpoint`; the run it names comes second.
        embedding: "projection" takes the pretraining, which alone has it.

    Raises:
        InputError: If there is none.
    """
    for place in (workdir, checkpoint):
        if place in ("", "none"):
            continue
        with contextlib.suppress(InputError):
            if embedding != "projection":
                return find_segmenters(place)[0]
        with contextlib.suppress(InputError):
            return find_pretraining(place)
    # It says what is missing, or what is wrong with the one that is named.
    return find_pretraining(workdir, checkpoint=checkpoint)


def is_segmenter(folder: Path) -> bool:
    """Whether a folder of `find_backbone` is that of a segmenter."""
    return folder.name in SEGMENTERS
