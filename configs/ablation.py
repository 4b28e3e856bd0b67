"""The paper's Table 2: what each change adds to the pretraining, with 5 patients.

python main.py --config configs/ablation.py:small --config.data.root=ACDC --mode study

Each row keeps the changes of the rows above it. The paper goes from 10 to 100 epochs
and from 64 to 1024 last feature maps; "quick" and "small" keep the ratios of steps,
and as much of the other as their width allows.
"""

from ml_collections import ConfigDict

try:
    from pix2rep_jax.configs import pix2rep, study  # once the package is installed
except ModuleNotFoundError:
    from configs import pix2rep, study  # in a clone of the repository

GROUP = "Pix2Rep pretraining settings"


def get_config(size: str = "quick") -> ConfigDict:
    """Returns a size's configuration with the ablation's plan in `study`.

    Args:
        size: "quick", "small", "medium" or "paper", as in configs/pix2rep.py.

    Raises:
        ValueError: If there is no such size.
    """
    pix2rep.check_size(size, file="ablation.py")
    config = study.get_config(size)
    steps = config.pretrain.num_steps
    # n_ft; MIDL 4 for "paper"
    widths = {"quick": (4, 32), "small": (8, 64), "medium": (8, 64)}
    few, many = widths.get(size, (64, 1024))
    short = {"num_epochs": 10, "num_steps": steps // 10}  # MIDL 4; 0 steps: epochs
    long = {"num_epochs": 100, "num_steps": steps}
    narrow = {"model": {"num_features": few}}
    wide = {"model": {"num_features": many}}
    still = {"spatial": {"max_rotation": 0.0}, "intensity": NO_REVERSAL}
    reversal = {"intensity": REVERSAL, "spatial": {"max_rotation": 0.0}}
    both = {"intensity": REVERSAL}

    def step(title, overrides, *, epochs=long, width=wide, mode="probe"):
        return study.row(
            title,
            table=2,
            group=GROUP,
            mode=mode,
            shared=width,
            pretraining=overrides | {"pretrain": epochs},
        )

    rows = {
        "defaults": step(
            "Defaults w/ 10 epochs pretraining", still, epochs=short, width=narrow
        ),
        "epochs": step("10 epochs → 100 epochs", still, width=narrow),
        "width": step("64 feature maps → 1024 feature maps", still),
        "reversal": step("Add 'intensity reversal' augmentation", reversal),
        "rotation": step("Add rotation augmentation", both),
        "finetune": step("Linear-probing → Fine-tuning", both, mode="finetune"),
    }
    config.study.rows = ConfigDict(rows)
    config.study.methods = tuple(rows)
    config.study.labeled = (5,)  # MIDL 4, Table 2
    config.study.reference = "defaults"
    config.study.figure3 = ()
    return config


NO_REVERSAL = {"reversal_probability": 0.0}
REVERSAL = {"reversal_probability": 0.35}  # released
