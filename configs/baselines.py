"""The methods that Pix2Rep is compared with: their sections of the configuration.

Each section overrides `pretrain` of configs/pix2rep.py for the method of its name. The
views of SimCLR, BYOL and Barlow Twins are those of `spatial` and `intensity`. They
train the encoder on whole slices; the decoder stays random. Values are those of an
accelerator; `_small` and `_quick` change what a smaller size needs.
"""

from ml_collections import ConfigDict


def add_sections(config: ConfigDict, size: str) -> None:
    """Adds a section for each method that has settings of its own.

    Args:
        config: As configs/pix2rep.py makes it.
        size: "quick", "small", "medium" or "paper".
    """
    config.simclr = _simclr()
    config.byol = _byol()
    config.barlow_twins = _barlow_twins()
    config.chaitanya = _chaitanya()
    config.mae = _mae()
    config.finetune.mean_teacher = _mean_teacher()
    config.finetune.unimatch = _unimatch(config)
    if size in ("small", "quick", "medium"):
        _small(config)
    if size == "medium":
        _medium(config)
    if size == "quick":
        _quick(config)


def _simclr() -> ConfigDict:
    """SimCLR: Chen et al. 2020; in cardiac MRI Zeng et al. 2021."""
    simclr = ConfigDict()
    simclr.batch_size = 128  # whole slices; 32 to 224 in cardiac MRI
    simclr.num_steps = 0  # 0: pretrain.num_epochs decides
    simclr.temperature = 0.1  # Chen et al. 2020; Zeng et al. 2021
    simclr.hidden = (512,)  # Zeng et al. 2021
    simclr.features = 128  # Chen et al. 2020
    return simclr


def _byol() -> ConfigDict:
    """BYOL: Grill et al. 2020."""
    byol = ConfigDict()
    byol.batch_size = 128  # the same as SimCLR's
    byol.num_steps = 0
    byol.hidden = (4096,)  # Grill et al. 2020
    byol.features = 256  # Grill et al. 2020
    # The share that the target keeps in a step. Constant here; Grill et al. 2020 raise
    # it from 0.996 to 1 by a cosine.
    byol.momentum = 0.996
    return byol


def _barlow_twins() -> ConfigDict:
    """Barlow Twins: Zbontar et al. 2021."""
    barlow_twins = ConfigDict()
    barlow_twins.batch_size = 128  # the same as SimCLR's
    barlow_twins.num_steps = 0
    # Three layers of one width, with 8192 in Zbontar et al. 2021.
    barlow_twins.hidden = (2048, 2048)
    barlow_twins.features = 2048
    barlow_twins.off_diagonal_weight = 0.005  # λ; Zbontar et al. 2021
    return barlow_twins


def _chaitanya() -> ConfigDict:
    """Chaitanya et al. 2020: all values are theirs unless a comment says otherwise.

    It takes two runs: the second has stage="local", a --workdir of its own, and
    init.checkpoint=FIRST.
    """
    chaitanya = ConfigDict()
    chaitanya.stage = "global"  # | "local"
    chaitanya.global_loss = "GD"  # | "GD-" | "GR"
    chaitanya.local_loss = "LD"  # | "LR"
    chaitanya.num_partitions = 4  # of a volume along its axis
    # Volumes a step; each partition of them gives one slice. Ours; theirs is 3, which
    # two devices cannot share.
    chaitanya.batch_size = 4
    chaitanya.num_steps = 10_000  # a stage
    chaitanya.learning_rate = 1e-3
    chaitanya.temperature = 0.1
    chaitanya.hidden = (1024,)
    chaitanya.features = 128
    chaitanya.num_blocks = 3  # first blocks of the decoder
    chaitanya.local_features = 128  # ours
    chaitanya.num_negatives = 5  # near regions of the same image, in either view
    chaitanya.spatial = spatial = ConfigDict()  # stage "global" only
    spatial.max_rotation = 0.0
    spatial.flip_probability = 0.0
    spatial.extent = (100 / 192, 100 / 192)  # a crop of 100 of 192 px
    spatial.max_shift = (0.5, 0.5)  # of the side; anywhere inside the image
    spatial.shift_inside = True
    chaitanya.intensity = intensity = ConfigDict()
    intensity.max_contrast = 0.3
    intensity.contrast_probability = 1.0
    intensity.max_brightness = 0.3
    intensity.brightness_probability = 1.0
    return chaitanya


def _mae() -> ConfigDict:
    """Masked images: He et al. 2022, with the same network and steps as Pix2Rep.

    In a U-Net 60 to 75 % of blocks of 16 px are usual (Wald et al. 2025).
    """
    mae = ConfigDict()
    mae.block = 1 / 8  # side of a hidden block, as a share of the image's
    mae.masked_fraction = 0.7  # of the blocks; between those usual
    return mae


def _mean_teacher() -> ConfigDict:
    """Mean Teacher: Tarvainen and Valpola 2017.

    "SSL4MIS" is its usual form on ACDC (Luo 2020). SSL4MIS has half the supervised
    loss of ours, and so half the consistency's weight. Learning rates, Adam and
    schedule are those of `finetune`, as for every method (SSL4MIS: SGD at 0.01 with
    polynomial decay). The student's slices are augmented as well.
    """
    mean_teacher = ConfigDict()
    mean_teacher.result = "teacher"  # | "student": chosen, reported first, predicts
    mean_teacher.unlabeled_batch_size = 8  # half of all slices; SSL4MIS
    mean_teacher.ema_decay = 0.99  # SSL4MIS
    mean_teacher.consistency_weight = 0.2  # ours
    mean_teacher.start_fraction = 1 / 30  # of the run; SSL4MIS: 1,000 of 30,000
    mean_teacher.ramp_up_fraction = 1.0  # of the run; SSL4MIS
    mean_teacher.noise_std = 0.1  # of the range; SSL4MIS
    mean_teacher.noise_clip = 0.2  # of the range; SSL4MIS
    return mean_teacher


def _unimatch(config: ConfigDict) -> ConfigDict:
    """UniMatch: Yang et al. 2023, with the numbers of its code for ACDC.

    "V2" is Yang et al. 2025, in which an average teaches by cross-entropy. Here, too,
    cross-entropy scores better (docs/results/ssl4mis.md). The first version has, on
    ACDC, teacher "self" and a cross_entropy_share of 0. Adam, its schedule and, from
    random weights, its rates are those of `finetune` (theirs: SGD at 0.01 with
    polynomial decay, 31,800 steps). The labelled slices are augmented as for every
    method; theirs are only turned. Weak views move by the same φ (theirs: turns, flips,
    rotations within 20°). The supervised Dice, without squares below, and the network,
    without dropout, are ours.
    """
    unimatch = ConfigDict()
    unimatch.teacher = "ema"  # V2 | "self": the network itself
    unimatch.result = "teacher"  # | "student": as of mean_teacher, with "ema"; V2
    unimatch.ema_decay = 0.996  # V2
    # Theirs: 12, as many as labelled. With "self" as many more are mixed in.
    unimatch.unlabeled_batch_size = 8
    unimatch.threshold = 0.95
    # Their total is half of the supervised loss and of the others; their supervised
    # loss is half of cross-entropy and Dice.
    unimatch.supervised_weight = 0.25
    unimatch.unlabeled_weight = 0.5
    unimatch.feature_share = 0.5  # of that weight; without "self" 0
    unimatch.cutmix_probability = 0.5  # of each strong view
    unimatch.cutmix_area = (0.02, 0.4)  # of the image
    unimatch.cutmix_aspect = (0.3, 1 / 0.3)  # height over width
    # How often a box holds a labelled slice with its mask; Bai et al. 2023 (BCP): 1
    unimatch.paste_probability = 0.0
    # The cross-entropy's share in what pseudo-labels teach; soft Dice has the rest.
    # Theirs: 0 on ACDC, 1 on photographs and in V2
    unimatch.cross_entropy_share = 1.0
    # Two further terms of unlabelled slices, by features: SemSim; Xie et al. 2024. A
    # weight counts beside the 1 of all others; 0 leaves a term out.
    unimatch.affinity_weight = 0.0  # classes propagated among pixels; theirs: on
    unimatch.affinity_temperature = 1.0  # of cosines; theirs
    # A pixel is compared with the means of so many blocks a side; theirs: all pixels
    unimatch.affinity_blocks = 16
    unimatch.prototype_weight = 0.0  # prototypes of labelled slices; theirs: on
    unimatch.prototype_temperature = 0.1  # of cosines; ours
    # Of a pretrained network's backbone and head alike, with the share of the run that
    # warms up. 0: those of `finetune`. Without a checkpoint those count anyway.
    unimatch.pretrained_learning_rate = 0.0
    unimatch.pretrained_warmup_share = 0.0
    # Strong views change as labelled slices do (ours), with contrast, brightness and
    # blur of their own.
    unimatch.intensity = intensity = (
        config.augment.intensity.copy_and_resolve_references()
    )
    intensity.max_contrast = 0.5
    intensity.contrast_probability = 0.8
    # They multiply by 1 ± 0.5. Of a mean intensity that is this shift; ours.
    intensity.max_brightness = 0.15
    intensity.brightness_probability = 0.8
    intensity.max_blur = 2.0  # of a px of 1.4 mm, about theirs
    intensity.blur_probability = 0.5
    return unimatch


def _small(config: ConfigDict) -> None:
    """Changes the sections for real scans on a laptop; none was tuned (ours)."""
    config.simclr.update(batch_size=32, num_steps=1400, hidden=(128,), features=64)
    config.byol.update(batch_size=32, num_steps=1400, hidden=(128,), features=64)
    config.byol.momentum = 0.99  # shorter runs need a faster target
    config.barlow_twins.update(batch_size=32, num_steps=1400)
    config.barlow_twins.update(hidden=(256, 256), features=256)
    config.barlow_twins.off_diagonal_weight = 0.05  # as pretrain
    config.chaitanya.update(num_steps=1500, hidden=(128,), features=64)
    config.chaitanya.update(num_blocks=2, local_features=32)
    config.finetune.mean_teacher.consistency_weight = 1.0
    config.finetune.unimatch.intensity.max_blur = 1.0  # the same length in larger px
    # Better than 1e-3 and 1e-2 by validation patients (docs/results/ssl4mis.md).
    config.finetune.unimatch.pretrained_learning_rate = 3e-3
    config.finetune.unimatch.pretrained_warmup_share = 0.05


def _medium(config: ConfigDict) -> None:
    """Changes `_small`'s sections for 128 px and four times as many pixels (ours)."""
    for name in ("simclr", "byol", "barlow_twins"):
        config[name].num_steps = 3000
    config.chaitanya.num_steps = 3000
    config.finetune.unimatch.intensity.max_blur = 2.0  # the same length again


def _quick(config: ConfigDict) -> None:
    """Changes the sections further for the phantom on two cores."""
    config.simclr.update(num_steps=800, hidden=(64,), features=32)
    config.byol.update(num_steps=800, hidden=(64,), features=32)
    config.barlow_twins.update(num_steps=800, hidden=(128, 128), features=128)
    config.chaitanya.update(num_steps=1000, hidden=(64,), features=32)
    config.chaitanya.local_features = 16
    # Those of `finetune` are chosen for the phantom.
    config.finetune.unimatch.update(pretrained_learning_rate=0.0)
    config.finetune.unimatch.update(pretrained_warmup_share=0.0)
