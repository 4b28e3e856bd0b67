"""Pix2Rep: pretraining, probing and fine-tuning, in three sizes.

python main.py --config configs/pix2rep.py --mode pretrain
python main.py --config configs/pix2rep.py:small --config.data.root=ACDC --mode pretrain
python main.py --config configs/pix2rep.py:paper --config.data.root=ACDC --mode pretrain

Every value stands here once. Where the three sizes differ, `pick` shows them side by
side. "MIDL" is Seince et al., "Dense Self-Supervised Learning for Medical Image
Segmentation", MIDL 2024; "released" is what its released code does where the text is
silent; "ours" was chosen here.

Measured on 2 CPU cores, foreground Dice with 5 labelled patients (README, "Results"):
quick: pretrain 3.5 min, probe 15 s and .62, finetune 36 s and .79;
small: pretrain 46 min, probe 36 s and .71, finetune 9 min (one core each);
paper: docs/results.md, "The paper's scale".
"""

import math
from collections.abc import Callable

from ml_collections import ConfigDict, FieldReference

VARIANTS = ("quick", "small", "paper")


def get_config(variant: str = "quick") -> ConfigDict:
    """Returns the configuration of one size.

    Args:
        variant: "quick" (built-in phantom, minutes on two cores), "small" (real
            scans on a laptop) or "paper" (the paper's recipe, for an accelerator).

    Raises:
        ValueError: If there is no such size.
    """
    pick = make_pick(variant, file="pix2rep.py")
    config = ConfigDict()
    config.variant = variant
    config.seed = 0

    config.data = data = ConfigDict()
    data.name = pick(quick="phantom", small="acdc", paper="acdc")  # | "nifti"
    data.root = ""  # folder of the scans; not needed for the phantom
    data.crop = "center"  # | "mask_box": released; it uses the ground truth
    data.spacing_mm = pick(quick=2.5, small=2.5, paper=1.4)  # mm a px; ours
    data.crop_px = pick(quick=64, small=64, paper=128)  # side after resampling; ours
    data.size = pick(quick=64, small=64, paper=128)  # px; MIDL 4 "Data"
    data.percentiles = (1.0, 99.0)  # min-max between these; MIDL 4 "Data"
    data.classes = ("BG", "RV", "MYO", "LV")  # by label value; ACDC
    data.num_labeled = pick(quick=5, small=5, paper=5)  # patients, |X_tr|; MIDL 4
    data.draw = 0  # which few-shot draw of patients
    data.val_fraction = 0.1  # of the labelled slices; MIDL 4 "Experimental setup"
    data.holdout_per_group = 4  # test patients a pathology, if there is no testing/
    data.validation_patients = 0  # training patients a pathology to tune on; ours
    data.exclude = ()  # patients to leave out, by name
    data.all_frames = False  # pretrain on every frame of *_4d.nii.gz too
    data.patient_regex = r"^[^_]+"  # what of a file's name is the patient; "nifti"
    data.cache_dir = "~/.cache/pix2rep-jax"
    data.device_budget_mb = 2048  # larger data sets stay on the host
    data.phantom_seed = 0
    data.phantom_training = 40  # patients
    data.phantom_testing = 20  # patients

    config.model = model = ConfigDict()
    model.channels = pick(  # MIDL 4 "Backbone"; released: an input block of 64
        quick=(8, 16, 32, 64),
        small=(16, 32, 64, 128),
        paper=(64, 128, 256, 512, 1024, 2048),
    )
    model.num_features = pick(quick=32, small=64, paper=1024)  # n_ft; MIDL 4
    model.scratch_num_features = pick(quick=32, small=64, paper=128)  # MIDL 4
    model.last_hidden = pick(quick=8, small=16, paper=0)  # 0: n_ft; released
    model.dtype = pick(quick="float32", small="float32", paper="bfloat16")

    config.projection = projection = ConfigDict()
    projection.hidden = pick(quick=(64,), small=(128,), paper=(256,))  # released
    projection.features = pick(quick=32, small=64, paper=256)  # d; released

    # φ, sampled as its inverse (MIDL, footnote 2).
    config.spatial = spatial = ConfigDict()
    spatial.max_rotation = pick(quick=math.pi, small=math.pi, paper=math.pi / 2)  # rad
    spatial.rotation_probability = 1.0
    spatial.extent = pick(  # side of the region seen; below 1 magnifies; released
        quick=(0.5, 1.1), small=(0.5, 1.1), paper=(0.33, 0.95)
    )
    spatial.extent_probability = 1.0
    spatial.flip_probability = pick(quick=0.5, small=0.5, paper=0.7)  # released: 0.7
    # px; with shift_inside (data.size - 1) / 2, or less to stay nearer to the middle
    spatial.max_shift = pick(quick=(6.0, 6.0), small=(6.0, 6.0), paper=(63.5, 63.5))
    spatial.shift_probability = 1.0
    spatial.shift_inside = pick(quick=False, small=False, paper=True)  # released
    # Before these, B-spline displacements: 2026 follow-up to Pix2Rep-v2, off in MIDL.
    spatial.elastic_probability = 0.0
    spatial.elastic_grids = (5, 9)  # control points a side; follow-up
    spatial.elastic_reach = (8 / 128, 2.5 / 128)  # ± of the side; follow-up

    # t and t', alike (MIDL 3 (1)); strengths and probabilities released or ours.
    config.intensity = intensity = ConfigDict()
    intensity.max_blur = pick(quick=1.0, small=1.0, paper=1.3)  # px
    intensity.blur_probability = pick(quick=0.3, small=0.3, paper=0.5)
    intensity.max_bias_field = pick(quick=0.5, small=0.5, paper=0.9)
    intensity.bias_field_probability = pick(quick=0.5, small=0.5, paper=0.75)
    intensity.max_noise = pick(quick=0.1, small=0.1, paper=0.5)  # of the range
    intensity.noise_probability = pick(quick=0.5, small=0.5, paper=0.3)
    intensity.max_gamma = pick(quick=0.3, small=0.3, paper=0.05)  # |log γ|
    # It clips to [-1, 1] first (ours), which changes more than a γ as weak as paper's.
    intensity.gamma_probability = pick(quick=0.5, small=0.5, paper=0.9)
    intensity.max_contrast = pick(quick=0.3, small=0.3, paper=0.2)  # paper: ours
    intensity.contrast_probability = 0.5  # ours
    intensity.max_brightness = 0.2  # of the range; ours
    intensity.brightness_probability = 0.5  # ours
    # 1 - x; released: 0.35. With a small network and a short pretraining it costs more
    # than it brings: dark lung and bright blood become one (docs/results.md).
    intensity.reversal_probability = pick(quick=0.0, small=0.0, paper=0.35)

    config.pretrain = pretrain = ConfigDict()
    # | "simclr" | "byol" | "barlow_twins" | "chaitanya": each as `pretrain` says, and
    # otherwise where the section of its name below says so.
    pretrain.method = "pix2rep"
    pretrain.loss = "info_nce"  # | "cross_correlation": Pix2Rep-v2; MIDL 3
    pretrain.temperature = pick(quick=0.2, small=0.2, paper=0.53)  # τ; released: 0.53
    # λ of v2. Zbontar et al. 2021: 0.005, for 8,192 dimensions; with 64 it leaves them
    # all alike, and a tenfold gives the probe 21 points (docs/results.md).
    pretrain.off_diagonal_weight = pick(quick=0.05, small=0.05, paper=0.005)
    pretrain.num_points = FieldReference(  # M an image, or "all" pixels; MIDL 4
        pick(quick=256, small=256, paper=1000), field_type=object
    )
    # Images of all devices together. On a CPU half of MIDL's 8 takes less than half
    # the time: its activations stay in the cache.
    pretrain.batch_size = pick(quick=4, small=4, paper=8)
    pretrain.num_epochs = 200  # MIDL 4
    pretrain.num_steps = pick(quick=4000, small=14000, paper=0)  # 0: num_epochs decides
    pretrain.learning_rate = pick(quick=1e-3, small=1e-3, paper=5e-4)  # MIDL 4
    pretrain.schedule = pick(quick="cosine", small="cosine", paper="constant")
    pretrain.warmup_steps = pick(quick=50, small=100, paper=0)
    pretrain.weight_decay = 0.0

    # Of whole slices, so a batch holds many; their two views are moved and changed as
    # `spatial` and `intensity` say. The decoder stays random.
    config.simclr = simclr = ConfigDict()
    simclr.batch_size = pick(quick=32, small=32, paper=128)  # 32 to 224 in cardiac MRI
    simclr.num_steps = pick(quick=800, small=2800, paper=0)  # not tuned
    simclr.temperature = 0.1  # Chen et al. 2020; Zeng et al. 2021
    simclr.hidden = pick(quick=(64,), small=(128,), paper=(512,))  # Zeng et al. 2021
    simclr.features = pick(quick=32, small=64, paper=128)  # Chen et al. 2020

    config.byol = byol = ConfigDict()
    byol.batch_size = pick(quick=32, small=32, paper=128)  # as SimCLR's
    byol.num_steps = pick(quick=800, small=2800, paper=0)
    byol.hidden = pick(quick=(64,), small=(128,), paper=(4096,))  # Grill et al. 2020
    byol.features = pick(quick=32, small=64, paper=256)  # Grill et al. 2020
    # Of the target, a step; constant. Grill et al. 2020 raise it from 0.996 to 1 by a
    # cosine; shorter runs need less.
    byol.momentum = pick(quick=0.99, small=0.99, paper=0.996)

    config.barlow_twins = barlow_twins = ConfigDict()
    barlow_twins.batch_size = pick(quick=32, small=32, paper=128)  # as SimCLR's
    barlow_twins.num_steps = pick(quick=800, small=2800, paper=0)
    # Three layers of one width; Zbontar et al. 2021, with 8192 there.
    barlow_twins.hidden = pick(quick=(128, 128), small=(256, 256), paper=(2048, 2048))
    barlow_twins.features = pick(quick=128, small=256, paper=2048)
    # λ; Zbontar et al. 2021: 0.005, for 8,192 dimensions, as of pretrain's.
    barlow_twins.off_diagonal_weight = pick(quick=0.05, small=0.05, paper=0.005)

    # Chaitanya et al. 2020, all values theirs where nothing else is said. Two runs: the
    # second has stage="local", a --workdir of its own, and init.checkpoint=FIRST.
    config.chaitanya = chaitanya = ConfigDict()
    chaitanya.stage = "global"  # | "local"
    chaitanya.global_loss = "GD"  # | "GD-" | "GR"
    chaitanya.local_loss = "LD"  # | "LR"
    chaitanya.num_partitions = 4  # of a volume along its axis
    # Volumes a step, of which every partition gives a slice; theirs: 3. Ours is even,
    # so that devices can share it.
    chaitanya.batch_size = 4
    chaitanya.num_steps = pick(quick=1000, small=3000, paper=10_000)  # a stage
    chaitanya.learning_rate = 1e-3
    chaitanya.temperature = 0.1
    chaitanya.hidden = pick(quick=(64,), small=(128,), paper=(1024,))
    chaitanya.features = pick(quick=32, small=64, paper=128)
    chaitanya.num_blocks = pick(quick=2, small=2, paper=3)  # first ones of the decoder
    chaitanya.local_features = pick(quick=16, small=32, paper=128)  # ours
    chaitanya.num_negatives = 5  # near regions of the same image, in either view
    chaitanya.spatial = ConfigDict()  # stage "global" only
    chaitanya.spatial.max_rotation = 0.0
    chaitanya.spatial.flip_probability = 0.0
    chaitanya.spatial.extent = (100 / 192, 100 / 192)  # a crop of 100 of 192 px
    reach = (data.size - 1) / 2
    chaitanya.spatial.max_shift = (reach, reach)  # px; anywhere inside data.size
    chaitanya.spatial.shift_inside = True
    chaitanya.intensity = ConfigDict()
    chaitanya.intensity.max_contrast = 0.3
    chaitanya.intensity.contrast_probability = 1.0
    chaitanya.intensity.max_brightness = 0.3
    chaitanya.intensity.brightness_probability = 1.0

    # Downstream augmentation: the same, but never 1 - x.
    config.augment = augment = ConfigDict()
    augment.spatial = spatial.copy_and_resolve_references()
    augment.intensity = intensity.copy_and_resolve_references()
    augment.intensity.reversal_probability = 0.0

    config.segmentation = segmentation = ConfigDict()
    segmentation.cross_entropy_weight = 1.0  # ours; released: 0
    segmentation.dice_weight = 1.0  # released
    segmentation.include_background = True  # in the Dice loss; released

    config.probe = probe = ConfigDict()
    probe.batch_size = 8  # MIDL 4
    probe.num_epochs = 100  # MIDL 4
    probe.num_steps = pick(quick=500, small=1500, paper=0)
    probe.min_steps = 0  # where num_epochs decides
    probe.learning_rate = 1e-2  # MIDL 4
    probe.schedule = pick(quick="cosine", small="cosine", paper="constant")
    probe.warmup_steps = 0
    probe.weight_decay = 0.0
    # Larger ones, and those over data.device_budget_mb on an accelerator, are computed
    # again in every step.
    probe.feature_budget_mb = 4096

    config.finetune = finetune = ConfigDict()
    finetune.method = "supervised"  # | "mean_teacher"
    finetune.batch_size = 8  # labelled slices; MIDL 4
    finetune.num_epochs = 100  # MIDL 4
    finetune.num_steps = pick(quick=500, small=3600, paper=0)
    finetune.min_steps = 0  # where num_epochs decides
    finetune.backbone_learning_rate = pick(quick=1e-3, small=1e-3, paper=5e-5)  # MIDL 4
    finetune.head_learning_rate = 1e-2  # MIDL 4
    # Of both, without a checkpoint; ours, the best of three for small.
    finetune.scratch_learning_rate = pick(quick=1e-3, small=3e-3, paper=1e-3)
    finetune.schedule = pick(quick="cosine", small="cosine", paper="constant")
    finetune.warmup_steps = pick(quick=50, small=50, paper=0)
    finetune.weight_decay = 0.0
    finetune.batch_norm = "train"  # | "frozen": the pretraining's statistics

    # Tarvainen and Valpola 2017; "SSL4MIS" is its usual form on ACDC (Luo 2020), there
    # with half the supervised loss of ours, and so with half the consistency's weight.
    # Rates, Adam and schedule are those above, as for every method (there: SGD at 0.01,
    # polynomial decay), and the student's slices are augmented as well.
    finetune.mean_teacher = mean_teacher = ConfigDict()
    mean_teacher.result = "teacher"  # | "student": chosen, reported first, predicts
    mean_teacher.unlabeled_batch_size = 8  # half of all slices; SSL4MIS
    mean_teacher.ema_decay = 0.99  # SSL4MIS
    mean_teacher.consistency_weight = pick(quick=1.0, small=1.0, paper=0.2)  # ours
    mean_teacher.start_fraction = 1 / 30  # of the run; SSL4MIS: 1,000 of 30,000
    mean_teacher.ramp_up_fraction = 1.0  # of the run; SSL4MIS
    mean_teacher.noise_std = 0.1  # of the range; SSL4MIS
    mean_teacher.noise_clip = 0.2  # of the range; SSL4MIS

    config.init = init = ConfigDict()
    # "": this workdir's pretraining, which itself is random | a run's | "none": random
    init.checkpoint = ""
    # BatchNorm's statistics anew on plain training images, before a label is used; ours
    init.recalibrate = pick(quick=True, small=True, paper=False)

    config.log = log = ConfigDict()
    log.metrics_every = 20  # steps
    # Steps, downstream; ten times a run at least, unless it is 0: at the end only.
    log.validate_every = pick(quick=50, small=100, paper=500)
    log.checkpoint_every = pick(quick=200, small=400, paper=1000)  # steps
    log.checkpoint_minutes = 5.0  # and at least this often
    return config


def make_pick(variant: str, *, file: str) -> Callable:
    """Makes the function that takes a size's own value of several.

    Args:
        variant: The size.
        file: Of this folder, which was asked for it.

    Raises:
        ValueError: If there is no such size.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f"configs/{file} has no variant {variant!r}: write "
            + " or ".join(f"{file}:{name}" for name in VARIANTS)
        )

    def pick(*, quick, small, paper):
        return {"quick": quick, "small": small, "paper": paper}[variant]

    return pick
