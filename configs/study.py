"""The paper's comparison: methods x numbers of labelled patients x few-shot draws.

python main.py --config configs/study.py --mode study
python main.py --config configs/study.py:small --config.data.root=ACDC --mode study
python main.py --config configs/study.py:small --config.study.dry_run=True --mode study

The base is configs/pix2rep.py in the size behind the colon; whatever is overridden on
the command line holds for all rows. A row of the tables is an entry of `rows` below: a
further method is a further entry, and needs nothing else. "MIDL" is Seince et al.,
"Dense Self-Supervised Learning for Medical Image Segmentation", MIDL 2024.
"""

import math

from ml_collections import ConfigDict

try:
    from pix2rep_jax.configs import pix2rep  # once the package is installed
except ModuleNotFoundError:
    from configs import pix2rep  # in a clone of the repository

SUPERVISED = "Fully-supervised learning"
SEMI_SUPERVISED = "Semi-supervised learning"
SELF_SUPERVISED = "Self-supervised learning (+ fine-tuning by default)"
BEYOND = "Not in the paper"


def get_config(size: str = "quick") -> ConfigDict:
    """Returns a size's configuration with a plan in its section `study`.

    Args:
        size: "quick", "small", "medium" or "paper", as in configs/pix2rep.py.

    Raises:
        ValueError: If there is no such size.
    """
    pix2rep.check_size(size, file="study.py")
    config = pix2rep.get_config(size)
    if size != "quick":  # the paper's data; its tables are drawn without the scans
        config.data.update(name="acdc", classes=("BG", "RV", "MYO", "LV"))
        config.data.holdout_per_group = 4
    # One preparation for all rows, and ACDC's views; as published.
    config.spatial.upright = config.augment.spatial.upright = False
    spacing_mm = {"small": 2.5, "medium": 1.4}
    config.data.crop = "center"
    if size in spacing_mm:
        config.data.update(spacing_mm=spacing_mm[size], normalization="percentiles")
    if size == "paper":
        # 100 epochs of few slices at constant rates are too short for the network from
        # scratch, and every method has the same budget (docs/results/paper-scale.md).
        for name, steps in (("probe", 1000), ("finetune", 2000)):
            config[name].update(min_steps=steps, schedule="cosine")
    rows = {
        "baseline": row(
            "Baseline (U-Net)",
            group=SUPERVISED,
            downstream={"init": {"checkpoint": "none"}},
        ),
        "mean_teacher": row(
            "Mean Teacher",
            group=SEMI_SUPERVISED,
            downstream={"init": {"checkpoint": "none"}, **MEAN_TEACHER},
        ),
        "simclr": row(
            "SimCLR pretraining", pretraining={"pretrain": {"method": "simclr"}}
        ),
        "chaitanya": row(
            "Chaitanya et al. (2020)",
            pretraining={"pretrain": {"method": "chaitanya"}},
            then={"chaitanya": {"stage": "local"}},
        ),
        # "Crops only" (MIDL 4), so neither rotations nor flips.
        "proposed_plain": row(
            "Proposed (w/o rot. & int. reversal)",
            pretraining={
                "spatial": {"max_rotation": 0.0, "flip_probability": 0.0},
                "intensity": {"reversal_probability": 0.0},
            },
        ),
        "proposed_probe": row("Proposed (only linear probing)", mode="probe"),
        "proposed": row("Proposed"),
        "proposed_mean_teacher": row(
            "Proposed + Mean Teacher", downstream=MEAN_TEACHER
        ),
        "v2_probe": row(
            "Pix2Rep-v2 w/ linear probing",
            table=3,
            mode="probe",
            pretraining=CROSS_CORRELATION,
        ),
        "v2": row("Pix2Rep-v2 w/ fine-tuning", table=3, pretraining=CROSS_CORRELATION),
        "v2_mean_teacher": row(
            "Pix2Rep-v2 + Mean Teacher",
            table=4,
            pretraining=CROSS_CORRELATION,
            downstream=MEAN_TEACHER,
        ),
        # Of the paper's related work (MIDL 2).
        "byol": row(
            "BYOL pretraining",
            table=0,
            group=BEYOND,
            pretraining={"pretrain": {"method": "byol"}},
        ),
        "barlow_twins": row(
            "Barlow Twins pretraining, whole slices",
            table=0,
            group=BEYOND,
            pretraining={"pretrain": {"method": "barlow_twins"}},
        ),
        "chaitanya_global": row(
            "Chaitanya et al. (2020), encoder only",
            table=0,
            group=BEYOND,
            pretraining={"pretrain": {"method": "chaitanya"}},
        ),
        "elastic": row(
            "Proposed, elastic φ",
            table=0,
            group=BEYOND,
            pretraining={"spatial": {"elastic_probability": 1.0}},
        ),
        # No training: how far do the embeddings go by themselves?
        "proposed_context": row(
            "Proposed, in context",
            table=0,
            group=BEYOND,
            mode="context",
        ),
        # Keeps the scans' common orientation: does Proposed lose by giving it up?
        "upright": row(
            "Proposed, rotation within 30°, no flips",
            table=0,
            group=BEYOND,
            pretraining={
                "spatial": {"max_rotation": math.pi / 6, "flip_probability": 0.0}
            },
        ),
        # Contrasts every pixel of a batch with every other.
        "all_pixels": row(
            "Proposed, InfoNCE over all pixels",
            table=0,
            group=BEYOND,
            pretraining={"pretrain": {"num_points": "all"}},
        ),
    }
    unimatch = {"finetune": {"method": "unimatch"}}
    if size != "quick":  # as docs/results/ssl4mis.md has it
        unimatch["finetune"]["num_steps"] = 5000
    scratch = {"init": {"checkpoint": "none"}}
    networks = {"augment": {"intensity": {"convolution_probability": 0.5}}}
    for name, title, downstream in (
        ("unimatch", "UniMatch", scratch | unimatch),
        ("proposed_unimatch", "Proposed + UniMatch", unimatch),
        ("networks", "Baseline, random networks", scratch | networks),
        ("proposed_networks", "Proposed, random networks", networks),
    ):
        rows[name] = row(title, table=0, group=BEYOND, downstream=downstream)
    for name, (title, probe_title, changes) in PRETRAININGS.items():
        shared = {"table": 0, "group": BEYOND, "pretraining": changes}
        rows[name] = row(title, **shared)
        rows[f"{name}_probe"] = row(probe_title, mode="probe", **shared)
    for name, (title, changes) in PAIRS.items():
        kinds = {"": ("Proposed", "finetune")}
        kinds["_probe"] = ("Proposed (only linear probing)", "probe")
        for end, (method, mode) in kinds.items():
            rows[name + end] = row(
                f"{method}, {title}", table=0, group=BEYOND, mode=mode, shared=changes
            )

    config.study = study = ConfigDict()
    study.rows = ConfigDict(rows)
    # In this order; on the command line baseline,proposed. The rows of PAIRS and of
    # ON_REQUEST run where they are named.
    study.methods = tuple(
        name
        for name in rows
        if name.removesuffix("_probe") not in (*PAIRS, *ON_REQUEST)
    )
    study.labeled = (1, 2, 5, 10, 20, 50, 100)  # patients, |X_tr|; MIDL 4
    study.draws = 5  # MIDL 4: five runs
    if size != "paper":
        # On a CPU a step over all pixels takes very long. "upright" only looks for a
        # cause. Both run there if they are named.
        left_out = ("all_pixels", "upright")
        study.methods = tuple(x for x in study.methods if x not in left_out)
    if size in ("small", "medium"):
        study.labeled, study.draws = (1, 2, 5, 20, 80), 3
    if size == "quick":
        study.labeled, study.draws = (1, 5), 2
    study.seeds = 1  # from config.seed on; a row has a pretraining for each
    study.reference = "baseline"  # tables.md has each method's difference from it
    study.figure3 = ("baseline", "proposed")
    study.confidence = 0.95  # of the intervals of differences
    study.resamples = 10_000  # of the patients, and of several seeds
    # A CSV of finished runs, as in results/: they are read instead of run again.
    study.records = ""
    study.dry_run = False  # print the plan and an estimate of its time instead
    study.tables_only = False  # run nothing, write the tables of what is finished
    return config


def row(
    title: str,
    *,
    table: int = 1,
    group: str = SELF_SUPERVISED,
    mode: str = "finetune",
    shared: dict | None = None,
    pretraining: dict | None = None,
    then: dict | None = None,
    downstream: dict | None = None,
) -> dict:
    """Describes a method.

    Args:
        title: As the paper's table has it, whose number then stands beside ours.
        table: Number of the paper's table, 1 to 4; 0 if no table has the row.
        group: Heading above it in the table.
        mode: "finetune", "probe" or "context".
        shared: Overrides of both stages, such as those of `model`.
        pretraining: Overrides of the pretraining.
        then: Overrides of a second one beside these, which goes on from the first;
            without any there is none.
        downstream: Overrides of what follows. `init.checkpoint` "none" leaves the
            pretraining out, and a folder is an earlier run's.
    """
    return {
        "title": title,
        "table": table,
        "group": group,
        "mode": mode,
        "shared": shared or {},
        "pretraining": pretraining or {},
        "then": then or {},
        "downstream": downstream or {},
    }


CROSS_CORRELATION = {"pretrain": {"loss": "cross_correlation", "num_points": "all"}}
"""Pix2Rep-v2: the whole maps (MIDL 3)."""

PRETRAININGS = {
    # The same network, data and steps, without views to compare.
    "mae": (
        "Masked images",
        "Masked images (only linear probing)",
        {"pretrain": {"method": "mae"}},
    ),
    # Four times the dimensions at the small sizes, with the λ of its authors (2026).
    "v2_wide": (
        "Pix2Rep-v2, 256 dimensions",
        "Pix2Rep-v2, 256 dimensions (only linear probing)",
        {
            "projection": {"features": 256},
            "pretrain": {**CROSS_CORRELATION["pretrain"], "off_diagonal_weight": 0.005},
        },
    ),
    # The augmentation's geometry: most views upright, a share turned or mirrored.
    "mixture": (
        "Proposed, most views upright",
        "Proposed (only linear probing), most views upright",
        {
            "spatial": {
                "rotation_probability": 0.3,
                "flip_probability": 0.15,
                "extent": (0.7, 1.2),
            }
        },
    ),
}
"""Further pretrainings, each fine-tuned and probed: both titles, and the settings."""

ON_REQUEST = (
    *PRETRAININGS,
    *("unimatch", "proposed_unimatch", "networks", "proposed_networks"),
    "proposed_context",
)
"""Rows that answer a question of their own, or whose steps take long."""

PAIRS = {
    "joint_batch_norm": (
        "BatchNorm over both views",
        {"pretrain": {"joint_batch_norm": True}},
    ),
    "separate_batch_norm": (
        "BatchNorm per view",
        {"pretrain": {"joint_batch_norm": False}},
    ),
    "dense_last_block": (
        "last block on all pixels",
        {"model": {"sparse_last_block": False}},
    ),
    "sparse_last_block": (
        "last block at the compared points",
        {"model": {"sparse_last_block": True}},
    ),
}
"""Choices of this program: a title, and the settings. One of each two is the default,
and shares the runs of Proposed.
"""

MEAN_TEACHER = {"finetune": {"method": "mean_teacher"}}
"""Tarvainen and Valpola 2017 (MIDL 4)."""
