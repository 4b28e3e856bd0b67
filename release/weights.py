"""Makes the files of published weights: backbone, checksum, config.json, model card.

python -m release.weights --run runs/acdc-small --output RELEASE \
    --name pix2rep-acdc-small --results results/study_cpu_3.csv

The folder is what the hub expects of a repository, and `init.checkpoint` takes it as it
is. The model card is README.md. For other data than ACDC, name it by --data, --licence
and --citation.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.formats.network import Network, load_network
from pix2rep_jax.formats.write import write_export
from pix2rep_jax.methods.pretraining import make_recipe
from pix2rep_jax.runs.find_weights import file_sha256
from pix2rep_jax.runs.pretrained_backbone import read_backbone
from pix2rep_jax.runs.start import find_pretraining
from pix2rep_jax.runtime.atomic_file import write_whole
from pix2rep_jax.wording import count


class Source(NamedTuple):
    """The data that a network has learned from.

    Attributes:
        title: Its name.
        licence: By its SPDX name in small letters, as the hub writes it.
        citation: What its users have to cite.
    """

    title: str
    licence: str
    citation: str


ACDC = Source(
    "the training split of ACDC (Automated Cardiac Diagnosis Challenge)",
    "cc-by-nc-sa-4.0",
    "O. Bernard, A. Lalande, C. Zotti, F. Cervenansky, et al., Deep Learning "
    "Techniques for Automatic MRI Cardiac Multi-structures Segmentation and Diagnosis: "
    "Is the Problem Solved?, IEEE TMI 37(11):2514-2525, 2018, "
    "doi:10.1109/TMI.2018.2837502",
)

_CARD = """\
---
license: {source.licence}
library_name: pix2rep-jax
pipeline_tag: image-segmentation
tags: [medical-imaging, self-supervised, jax, unet]
---

# {name}

A 2D U-Net that {method} has pretrained without labels on {source.title}. It gives each
pixel {features} features. It segments nothing by itself: train it further, on a few
labelled scans.

## Use

```sh
pip install 'pix2rep-jax[export]'
pix2rep --mode finetune --workdir runs/new --config.data.root=SCANS \\
    --config.init.checkpoint=FOLDER_OR_HUB_NAME
```

For PyTorch, ONNX or StableHLO:

```python
from pix2rep_jax import export

export("FOLDER_OR_HUB_NAME", "EXPORT", format="pytorch")
```

`config.json` says how to prepare an image. `{file}` has SHA-256 `{sha256}`.

## Data and licence

It learned from {source.title}: {slices} of {patients}. No mask was used.
The data's licence is {source.licence}. These weights are given under the same.
Cite the data: {source.citation}.

## Recipe

| | |
|---|---|
{recipe}

## Numbers

{numbers}

## Limits

- It has seen scans of one kind only. On other organs, contrasts or machines it may be
  of no help, or of less than random weights: compare with
  `--config.init.checkpoint=none` on your own validation patients.
- It sees 2D slices of {size} x {size} px of {spacing:.3g} mm, with intensities from
  {intensities}.
- It is a tool of research, and is not for diagnosis.
- The file holds hashes of the names of the {patients} and of their scans, so that
  none of them is tested by mistake. It holds no image.
"""


def make_release(
    run: Path, output: Path, *, name: str, source: Source, results: Path | None = None
) -> Path:
    """Writes the files of a pretraining's release.

    Args:
        run: Its folder, or its workdir.
        output: The folder to write, which must be empty.
        name: Name of the network.
        source: The data.
        results: A CSV of a study, whose numbers the card shows.

    Returns:
        The file of weights.

    Raises:
        InputError: If the run is not a finished pretraining, if it has learned from
            other data than ACDC and ACDC is named, or as `write_export`.
    """
    network, note = load_network(find_pretraining(run))
    if source == ACDC and network.record.split.source != "acdc":
        raise InputError(
            f"the network in {run} has not learned from ACDC: name its data by --data, "
            "--licence and --citation"
        )
    if note:
        raise InputError(f"only a finished pretraining is released: {note}")
    file = write_export(network, output, format="safetensors")
    sha256 = file_sha256(file)
    write_whole(output / f"{file.name}.sha256", f"{sha256}  {file.name}\n")
    split, data = network.record.split, network.config["data"]
    low, high = data["percentiles"]
    window = "the window {:g} to {:g}".format(*data["window"] or (0, 0))
    numbers = "No numbers were given."
    if results is not None:
        digest = read_backbone(_config(network).model, network.run).origin.digest
        numbers = describe_results(results, digest)
    card = _CARD.format(
        name=name,
        source=source,
        method=network.config["pretrain"].get("method", "pix2rep"),
        features=network.backbone.num_features,
        file=file.name,
        sha256=sha256,
        slices=count(len(split.pretrain_slices), "slice"),
        patients=count(len(split.pretrain_patients), "patient"),
        recipe="\n".join(f"| {k} | {v} |" for k, v in describe_recipe(network).items()),
        numbers=numbers,
        size=data["size"],
        spacing=data["spacing_mm"],
        intensities=window
        if data["window"]
        else f"the percentiles {low:g} to {high:g}",
    )
    write_whole(output / "README.md", card)
    return file


def describe_recipe(network: Network) -> dict[str, Any]:
    """Lists what a reader needs to train the network again."""
    config, record = _config(network), network.record
    recipe, rate = make_recipe(config), "learning_rate"
    said = {
        "size": config.get("variant", ""),
        "steps": record.num_steps,
        "batch size": recipe.batch_size,
        "learning rate": f"{recipe[rate]:g}, {recipe.schedule}",
        "loss": recipe.get("loss", ""),
        "temperature": recipe.get("temperature", ""),
        "points per image": recipe.get("num_points", ""),
        "channels": ", ".join(map(str, config.model.channels)),
        "seed": config.seed,
        "made by": f"pix2rep-jax {record.environment.get('pix2rep_jax', '')}",
    }
    return {name: value for name, value in said.items() if value != ""}


def describe_results(path: Path, digest: str) -> str:
    """Writes the table of a study: this recipe beside random weights.

    Args:
        path: The study's CSV.
        digest: Of this backbone. Some rows may have started from it.

    Raises:
        InputError: If it has no finished row of both.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "finished"]
    lines = [
        "| labelled patients | from this recipe | from random weights | runs |",
        "|---|---|---|---|",
    ]
    numbers = sorted({int(row["num_labeled"]) for row in rows})
    for number in numbers:
        ours, theirs = (
            _scores(rows, each, number) for each in ("proposed", "baseline")
        )
        if len(ours) and len(theirs):
            lines.append(
                f"| {number} | {ours.mean():.3f} | {theirs.mean():.3f} | "
                f"{len(ours)} and {len(theirs)} |"
            )
    if len(lines) == 2:
        raise InputError(f"{path} has no finished rows of proposed and of baseline")
    same = any(row.get("pretrained_digest") == digest for row in rows)
    which = (
        "Some of these runs started from this very file."
        if same
        else "These runs started from other networks of the same recipe."
    )
    return "\n".join(
        [
            "Dice of held-out patients after fine-tuning: the mean of the foreground "
            f"classes, over draws of the labelled patients (`{path.name}`). {which}",
            "",
            *lines,
        ]
    )


def _scores(rows: Sequence[Mapping[str, str]], method: str, number: int) -> np.ndarray:
    """The scores of a method's fine-tuned runs with so many labelled patients."""
    return np.array(
        [
            float(row["dice_mean_foreground"])
            for row in rows
            if (row["method"], row["mode"]) == (method, "finetune")
            and int(row["num_labeled"]) == number
        ]
    )


def _config(network: Network) -> ConfigDict:
    """The run's configuration as the program reads it."""
    return ConfigDict(network.config)


def main() -> None:
    """Reads the command line and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--data", help="title of other data than ACDC")
    parser.add_argument("--licence", help="its licence, such as cc-by-4.0")
    parser.add_argument("--citation", help="what its users have to cite")
    given = parser.parse_args()
    told = (given.data, given.licence, given.citation)
    source = Source(*told) if all(told) else ACDC
    if any(told) and not all(told):
        parser.error("--data, --licence and --citation belong together")
    try:
        file = make_release(
            given.run,
            given.output,
            name=given.name,
            source=source,
            results=given.results,
        )
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"the weights are in {file}, and their card is beside them")


if __name__ == "__main__":
    main()
