"""What a pretraining is worth, by the network's width and the unlabelled patients.

python main.py --config configs/worth.py:small --config.data.root=ACDC --mode study

Each width is trained from scratch at two rates, and the better one is what Pix2Rep has
to beat. The pretrainings of fewer patients have the same number of steps.
"""

from ml_collections import ConfigDict

try:
    from pix2rep_jax.configs import pix2rep, study  # once the package is installed
except ModuleNotFoundError:
    from configs import pix2rep, study  # in a clone of the repository

WIDTHS = (0.5, 1, 2)
"""Times the channels of the size."""

RATES = {"low": 1 / 3, "high": 1}
"""Times the size's rate from scratch."""

PATIENTS = (10, 30)
"""Numbers of patients that pretrain, below all."""


def get_config(size: str = "quick") -> ConfigDict:
    """Returns a size's configuration with this plan in `study`.

    Args:
        size: "quick", "small", "medium" or "paper", as in configs/pix2rep.py.

    Raises:
        ValueError: If there is no such size.
    """
    pix2rep.check_size(size, file="worth.py")
    config = study.get_config(size)
    rows = {}
    for width in WIDTHS:
        channels = tuple(int(width * each) for each in config.model.channels)
        title = f"{channels[0]} to {channels[-1]} channels"
        shared = {"model": {"channels": channels}}
        for name, times in RATES.items():
            rate = times * config.finetune.scratch_learning_rate
            downstream = {
                "init": {"checkpoint": "none"},
                "finetune": {"scratch_learning_rate": rate},
            }
            rows[f"scratch_{channels[0]}_{name}"] = study.row(
                f"From scratch at a rate of {rate:.1g}, {title}",
                table=0,
                group=study.SUPERVISED,
                shared=shared,
                downstream=downstream,
            )
        rows[f"proposed_{channels[0]}"] = study.row(
            f"Proposed, {title}", table=0, shared=shared
        )
    for number in PATIENTS:
        rows[f"proposed_of_{number}"] = study.row(
            f"Proposed, {number} patients pretrain",
            table=0,
            pretraining={"data": {"num_unlabeled": number}},
        )
    config.study.rows = ConfigDict(rows)
    config.study.methods = tuple(rows)
    config.study.labeled = (1,)
    config.study.reference = f"scratch_{config.model.channels[0]}_high"
    config.study.figure3 = ()
    return config
