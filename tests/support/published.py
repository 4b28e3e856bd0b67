"""The studies in results/: the configuration of each, and its published tables.

`python -m tests.support.published NAME` prints what tests/study/published_tables.txt
holds of one.
"""

import re
import sys
from pathlib import Path

from configs import ablation, study
from pix2rep_jax.study.jobs import list_cells
from pix2rep_jax.study.report.document import make_document
from pix2rep_jax.study.report.results import read_results
from pix2rep_jax.study.report.run_table import read_runs

RESULTS = Path(study.__file__).parents[1] / "results"

ALL_ROWS = (
    *("baseline", "mean_teacher", "simclr", "chaitanya", "proposed_plain"),
    *("proposed_probe", "proposed", "proposed_mean_teacher"),
    *("v2_probe", "v2", "v2_mean_teacher"),
    *("byol", "barlow_twins", "chaitanya_global", "elastic", "upright", "all_pixels"),
)
MAIN_ROWS = ("baseline", "proposed_probe", "proposed")
PAPER = {
    "model.last_hidden": 128,
    "pretrain.num_epochs": 50,
    "probe.feature_budget_mb": 60_000,
    "study.draws": 3,
    "study.labeled": (1, 5),
    "study.methods": MAIN_ROWS,
}
CONSTANT = {
    "probe.num_steps": 1000,
    "probe.schedule": "constant",
    "finetune.num_steps": 1500,
    "finetune.schedule": "constant",
    "log.validate_every": 400,
}
CPU_ROWS = ("baseline", "simclr", "proposed_plain", "proposed_probe", "proposed")
CPU = {"study.methods": (*CPU_ROWS, "v2_probe", "v2")}
SEEDS = {
    "study.methods": ("baseline", "proposed"),
    "study.seeds": 2,
    "study.labeled": (1,),
}
CPU_3 = {"study.methods": MAIN_ROWS, "study.labeled": (1, 5)}

WIDE = {
    "study.methods": ("baseline", "proposed"),
    "study.labeled": (1, 5),
    "augment.spatial.rotation_probability": 1.0,
    "augment.spatial.flip_probability": 0.5,
    "augment.spatial.extent": (0.5, 1.1),
}


def pair(*methods):
    """Two choices of this program, each from two pretrainings."""
    names = tuple(x + end for end in ("_probe", "") for x in methods)
    return {
        "study.methods": names,
        "study.reference": methods[0],
        "study.labeled": (1, 5),
        "study.draws": 1,
        "study.seeds": 2,
    }


OTHER_SET = {
    "data.name": "nifti",
    "data.spacing_mm": "auto",
    "data.normalization": "auto",
    "data.holdout_per_group": 20,
    "study.methods": ("proposed", "proposed_probe", "baseline"),
    "study.labeled": (1, 5),
}
"""A data set other than ACDC, with the spacing and intensities of its plan."""

HIPPOCAMPUS = OTHER_SET | {"data.classes": ("background", "anterior", "posterior")}
FETAL_HEAD = OTHER_SET | {"data.classes": ("background", "1")}
PHANTOM = {
    **OTHER_SET,
    "data.name": "phantom",
    "data.root": "",
    "data.holdout_per_group": 4,
    "data.classes": ("BG", "RV", "MYO", "LV"),
}
PLANNED_VIEWS = {"spatial.upright": "auto", "augment.spatial.upright": "auto"}

BATCH_NORM = pair("joint_batch_norm", "separate_batch_norm")
SPARSE = pair("dense_last_block", "sparse_last_block")

CONTEXT = {
    "study.methods": ("proposed_probe", "proposed", "proposed_context"),
    "study.reference": "proposed_probe",
    "study.labeled": (1, 2, 5),
}

UNIMATCH = {
    "study.methods": ("baseline", "proposed", "unimatch"),
    "study.labeled": (1,),
}
UNIMATCH_DICE = UNIMATCH | {"finetune.unimatch.cross_entropy_share": 0.0}

NETWORKS = {
    "study.methods": ("baseline", "proposed", "networks"),
    "study.labeled": (1,),
}

TABLES = {
    "study_small": ("study_small", study, "small", {"study.methods": ALL_ROWS}),
    "study_cpu": ("study_cpu", study, "small", CPU),
    "study_seeds": ("study_cpu", study, "small", SEEDS),
    "study_paper": ("study_paper", study, "paper", PAPER),
    "study_paper_constant": ("study_paper_constant", study, "paper", PAPER | CONSTANT),
    "study_cpu_3": ("study_cpu_3", study, "small", CPU_3),
    "wide_small": ("wide_small", study, "small", WIDE),
    "batch_norm_small": ("batch_norm_small", study, "small", BATCH_NORM),
    "sparse_small": ("sparse_small", study, "small", SPARSE),
    "context_small": ("context_small", study, "small", CONTEXT),
    "unimatch_small": ("unimatch_small", study, "small", UNIMATCH),
    "unimatch_dice_small": ("unimatch_dice_small", study, "small", UNIMATCH_DICE),
    "networks_small": ("networks_small", study, "small", NETWORKS),
    "hippocampus_small": (
        "hippocampus_small",
        study,
        "small",
        HIPPOCAMPUS | PLANNED_VIEWS,
    ),
    "hippocampus_any_angle_small": (
        "hippocampus_any_angle_small",
        study,
        "small",
        HIPPOCAMPUS,
    ),
    "fetal_head_small": (
        "fetal_head_small",
        study,
        "small",
        FETAL_HEAD | PLANNED_VIEWS,
    ),
    "phantom_small": ("phantom_small", study, "small", PHANTOM | PLANNED_VIEWS),
    "ablation_small": ("ablation_small", ablation, "small", {"study.draws": 3}),
}
"""Of each published document: its file of runs, and what they were run with."""

LAST = (
    "context_small",
    "fetal_head_small",
    "hippocampus_small",
    "networks_small",
    "phantom_small",
    "study_cpu_3",
    "unimatch_dice_small",
    "unimatch_small",
)
"""Files whose runs were scored at their last step; the others have the best one."""


def published_config(name):
    """The configuration of a published document, with its file of runs."""
    file, plan, variant, overrides = TABLES[name]
    config = plan.get_config(variant)
    keep = "last" if file in LAST else "best"
    usual = {"data.root": "ACDC", "segmentation.keep": keep}
    config.update_from_flattened_dict(usual | overrides)
    config.study.records = str(RESULTS / f"{file}.csv")
    return config


def published_results(name):
    """The configuration of a published document, and the results of all its cells."""
    config = published_config(name)
    cells = list_cells(config, Path("/nowhere"))
    published = read_runs(config.study.records, cells)
    return config, read_results(cells, published=published)


def numbers_of(document):
    """The rows of all tables: title, and per column the numbers that are printed."""
    rows = []
    for line in document.splitlines():
        if line.startswith("| ") and not line.startswith("| *"):
            title, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found = [" ".join(re.findall(r"[-+]?\d+(?:\.\d+)?", x)) for x in cells]
            title = "Method" if title.startswith("Method") else title
            rows.append(" | ".join([title, *found]))
    return rows


if __name__ == "__main__":
    (name,) = sys.argv[1:]
    document = make_document(*published_results(name))
    (time,) = re.findall(r"together: ([\d:]+)\.", document)
    print(f"# {name} {time}", *numbers_of(document), sep="\n")
