"""Pix2Rep: pretraining, probing and fine-tuning, in four sizes.

python main.py --config configs/pix2rep.py --mode pretrain
python main.py --config configs/pix2rep.py:small --config.data.root=ACDC --mode pretrain
python main.py --config configs/pix2rep.py:paper --config.data.root=ACDC --mode pretrain

`_base` is the paper's recipe. `_small`, `_medium` and `_quick` change what a smaller
size needs.
The methods that are compared with it have their sections in baselines.py.

A comment gives a value's unit, its meaning or its source. "MIDL 4" is section 4 of
Seince et al., "Dense Self-Supervised Learning for Medical Image Segmentation", MIDL
2024. "released" is the paper's released code, where the text is silent. "ours" was
chosen here.

Measured on 2 CPU cores, foreground Dice with 5 labelled patients (docs/results/):
quick: pretrain 47 s, probe 13 s and .68, finetune 19 s and .80 (both cores);
small: pretrain 12 min, probe 30 s and .68, finetune 6 to 12 min and .83 (one core each,
two side by side);
paper: docs/results/paper-scale.md.
"""

import math

from ml_collections import ConfigDict, FieldReference

try:
    from pix2rep_jax.configs import baselines  # once the package is installed
except ModuleNotFoundError:
    from configs import baselines  # in a clone of the repository

SIZES = ("quick", "small", "medium", "paper")


def get_config(size: str = "quick") -> ConfigDict:
    """Returns the configuration of one size.

    Args:
        size: "quick" (built-in phantom, minutes on two cores), "small" (real scans on
            a laptop), "medium" (real scans overnight) or "paper" (the paper's recipe,
            for an accelerator).

    Raises:
        ValueError: If there is no such size.
    """
    check_size(size, file="pix2rep.py")
    config = _base()
    config.variant = size
    if size == "small":
        _small(config)
    if size == "medium":
        _medium(config)
    if size == "quick":
        _quick(config)
    baselines.add_sections(config, size)
    return config


def check_size(size: str, *, file: str) -> None:
    """Checks the word behind the colon of a --config.

    Args:
        size: That word.
        file: The configuration file that was asked for it.

    Raises:
        ValueError: If there is no such size.
    """
    if size not in SIZES:
        raise ValueError(
            f"configs/{file} has no variant {size!r}: write "
            + " or ".join(f"{file}:{name}" for name in SIZES)
        )


def _base() -> ConfigDict:
    """Makes the paper's recipe."""
    config = ConfigDict()
    config.variant = "paper"
    config.seed = 0

    config.data = data = ConfigDict()
    # | "acdc" | "nifti": any other layout | "phantom". "auto": what data.root holds
    data.name = "auto"
    data.root = ""  # folder of the scans; the phantom needs none
    # | "middle": patches of a square a quarter wider | "whole": patches of whole slices
    # | "auto": by what masks keep; ours | "mask_box": released; uses the ground truth
    data.crop = "center"
    # mm per px; ours | "auto": the scans' median, or what shows the masks
    data.spacing_mm = FieldReference(1.4, field_type=object)
    data.crop_px = 0  # side of the field of view in px of spacing_mm; 0: size
    data.size = 128  # side of the network's images or patches, px; MIDL 4 "Data"
    data.interpolation = "linear"  # | "nearest": released
    data.percentiles = (1.0, 99.0)  # min-max between these; MIDL 4 "Data"
    # | "window": data.window becomes 0 to 1 | "auto": that for CT; ours
    data.normalization = "percentiles"
    data.window = ()  # two intensities; a plan writes them here; ours
    # Axis of the slices, 0 to 2. "auto": one of length 1 or of a larger spacing, or 2
    data.slice_axis = FieldReference("auto", field_type=object)
    data.orientation = "file"  # | "canonical": turned to RAS+ by the affine; ours
    # Of 4-D files: "frames" | "channels"; "auto": channels if dataset.json names them
    data.fourth_axis = "auto"
    # By label value, background first. (): ACDC's, or dataset.json, or labels.json
    data.classes = ()
    data.label_values = ()  # of the classes in the masks; (): dataset.json or 0, 1, …
    # | "ssl4mis": ACDC's training patients, 70 that train, 10 that
    # validate and 20 to test, by name; Luo 2020
    data.split = "auto"
    data.ignore = ()  # values in the masks of pixels that nobody has labelled; ours
    # | "background" | "unannotated". "auto": empty slices are unannotated if some lie
    # between annotated ones, and else background; ours
    data.empty_slices = "auto"
    data.num_labeled = 5  # patients, |X_tr|; MIDL 4
    # Patients that pretrain, |X_pre|, or teach without masks; 0: all, as MIDL 4
    data.num_unlabeled = 0
    data.labeled = ()  # these patients, by name; (): num_labeled of them, drawn
    data.draw = 0  # which few-shot draw of patients
    data.val_fraction = 0.1  # of the labelled slices; MIDL 4 "Experimental setup"
    # Test patients per pathology, if there is no testing/. "auto": a fifth of those
    # with masks, at least 4; 0 if fewer than ten have masks in all
    data.holdout_per_group = FieldReference("auto", field_type=object)
    data.folds = 0  # cross-validation: the patients in as many parts; 0: none
    data.fold = 0  # the part that is tested, from 0
    data.validation_patients = 0  # training patients a pathology to tune on; ours
    data.exclude = ()  # patients to leave out, by name
    data.all_frames = False  # pretrain on every frame of *_4d.nii.gz too
    # The patient's part of a scan's name. "auto": the part before _ if several such
    # parts occur and each holds a digit; else each scan is a patient
    data.patient_regex = "auto"
    data.cache_dir = "~/.cache/pix2rep-jax"
    # GB of prepared slices and programs there; what was not used for longest is
    # removed when a set is added. 0: no limit; ours
    data.cache_gb = 50.0
    data.device_budget_mb = 2048  # larger data sets stay on the host
    data.phantom_seed = 0
    data.phantom_training = 40  # patients
    data.phantom_testing = 20  # patients

    config.model = model = ConfigDict()
    # MIDL 4 "Backbone"; the input block of 64: released
    model.channels = (64, 128, 256, 512, 1024, 2048)
    model.num_features = 1024  # last feature maps, n_ft; MIDL 4
    model.scratch_num_features = 128  # the same without pretraining; MIDL 4
    model.last_hidden = 0  # channels before the last feature maps; 0: n_ft; released
    model.dtype = "bfloat16"  # | "float32"; ours
    # | True | "auto": pretraining runs the last convolution only at the points that it
    # compares; "auto" does so where that is faster, with few enough points; ours
    model.sparse_last_block = FieldReference(False, field_type=object)

    config.projection = projection = ConfigDict()
    projection.hidden = (256,)  # released
    projection.features = 256  # d; released

    # φ. What is sampled is its inverse (MIDL, footnote 2).
    config.spatial = spatial = ConfigDict()
    spatial.max_rotation = math.pi / 2  # rad; released
    spatial.rotation_probability = 1.0
    spatial.extent = (
        0.33,
        0.95,
    )  # side of the region seen; below 1 magnifies; released
    spatial.extent_probability = 1.0
    spatial.flip_probability = 0.7  # of rows or columns, in equal parts; released
    # Of the side. With shift_inside 0.5 is anywhere inside the image (released), and
    # less stays nearer to the middle.
    spatial.max_shift = (0.5, 0.5)
    spatial.shift_probability = 1.0
    spatial.shift_inside = True  # released
    # True: no view is mirrored, or turned by more than 20° | "auto": if the patients'
    # scans lie alike; ours
    spatial.upright = FieldReference(False, field_type=object)
    # Before these, B-spline displacements: 2026 follow-up to Pix2Rep-v2, off in MIDL.
    spatial.elastic_probability = 0.0
    spatial.elastic_grids = (5, 9)  # control points a side; follow-up
    spatial.elastic_reach = (8 / 128, 2.5 / 128)  # ± of the side; follow-up

    # t and t' are drawn alike (MIDL 3 (1)).
    config.intensity = intensity = ConfigDict()
    intensity.max_blur = 1.3  # px; released
    intensity.blur_probability = 0.5  # released
    intensity.max_bias_field = 0.9  # released
    intensity.bias_field_probability = 0.75  # released
    intensity.max_noise = 0.5 / 180  # of the range; released: 0.5 of 180 grey levels
    intensity.noise_probability = 0.3  # released
    intensity.max_gamma = 0.05  # |log γ|; released
    intensity.gamma_probability = 0.9  # released
    # Grey levels of the range that γ acts on. The released code acts on raw ones; a
    # crop's 1st to 99th percentile spans 180 of them, the median of ACDC's scans.
    intensity.grey_levels = 180.0
    intensity.max_contrast = 0.2  # ours
    intensity.contrast_probability = 0.5  # ours
    intensity.max_brightness = 0.2  # of the range; ours
    intensity.brightness_probability = 0.5  # ours
    intensity.convolution_probability = 0.0  # a random network; Ouyang et al. 2023
    intensity.reversal_probability = 0.35  # 1 - x; released

    config.pretrain = pretrain = ConfigDict()
    # | "simclr" | "byol" | "barlow_twins" | "chaitanya" | "mae". The section of
    # that name (baselines.py) overrides what stands here.
    pretrain.method = "pix2rep"
    pretrain.loss = "info_nce"  # | "cross_correlation": Pix2Rep-v2; MIDL 3
    pretrain.temperature = 0.53  # τ; released
    pretrain.off_diagonal_weight = 0.005  # λ of v2; Zbontar et al. 2021
    # M, points an image, or "all" pixels; MIDL 4
    pretrain.num_points = FieldReference(1000, field_type=object)
    # True: both views share one mean and variance. False: one view per pass; released
    pretrain.joint_batch_norm = False
    pretrain.batch_size = 8  # images of all devices together; MIDL 4
    pretrain.num_epochs = 200  # MIDL 4
    pretrain.num_steps = 0  # 0: num_epochs decides
    pretrain.learning_rate = 5e-4  # MIDL 4
    pretrain.schedule = "constant"  # | "cosine"
    pretrain.warmup_steps = 0
    pretrain.weight_decay = 0.0

    config.augment = _augment()

    config.segmentation = segmentation = ConfigDict()
    segmentation.cross_entropy_weight = 1.0  # ours; released: 0
    segmentation.dice_weight = 1.0  # released
    segmentation.include_background = True  # in the Dice loss; released
    # | "last": the last step. "best": of the largest Dice on the validation slices.
    # MIDL 4 sets 10 % of the slices aside for that, and names no checkpoint. Both stay
    # on disk, and evaluate, predict and figures take either.
    segmentation.keep = "best"

    config.probe = probe = ConfigDict()
    probe.batch_size = 8  # MIDL 4
    probe.num_epochs = 100  # MIDL 4
    probe.num_steps = 0  # 0: num_epochs decides
    probe.min_steps = 0  # where num_epochs decides
    probe.learning_rate = 1e-2  # MIDL 4
    probe.schedule = "constant"  # | "cosine"
    probe.warmup_steps = 0
    probe.weight_decay = 0.0
    # Features are computed once if they fit this, and on an accelerator also
    # data.device_budget_mb; if not, in every step. MB.
    probe.feature_budget_mb = 4096

    config.finetune = finetune = ConfigDict()
    # | "mean_teacher" | "unimatch": sections below, baselines.py
    finetune.method = "supervised"
    finetune.batch_size = 8  # labelled slices; MIDL 4
    finetune.num_epochs = 100  # MIDL 4
    finetune.num_steps = 0  # 0: num_epochs decides
    finetune.min_steps = 0  # where num_epochs decides
    finetune.backbone_learning_rate = 5e-5  # MIDL 4
    finetune.head_learning_rate = 1e-2  # MIDL 4
    finetune.scratch_learning_rate = 1e-3  # of both, without a checkpoint; ours
    finetune.schedule = "constant"  # | "cosine"
    finetune.warmup_steps = 0
    finetune.warmup_share = 0.0  # of the run, if that is longer; OpenMind 2025: 0.05
    finetune.weight_decay = 0.0
    finetune.batch_norm = "train"  # | "frozen": the pretraining's statistics
    # True: train the same from random weights too, in <workdir>/scratch, and compare
    finetune.compare_scratch = False

    # In-context segmentation: each pixel takes the class of the masked pixels that are
    # most like it. Nothing is trained. Chosen on ACDC's training patients; ours.
    config.context = context = ConfigDict()
    context.embedding = "features"  # f(x) | "projection": z = (g∘f)(x)
    context.neighbours = 63  # k, pixels that vote
    context.temperature = 0.0  # one of cosine s has exp(s / this) votes; 0: one each
    # Support pixels of one class; of more a sample is drawn, whose votes count for all
    context.most_pixels = 10_000
    # True: a test patient's first masked scan is the support of its others
    context.own_frame = False

    config.init = init = ConfigDict()
    # "": this workdir's pretraining (a pretraining starts at random)
    # a run's folder, a .safetensors file or its folder, hf://owner/name: that
    # pretraining | "none": random weights
    # RUN/finetune: fine-tuning goes on from that network with other masks
    init.checkpoint = ""
    # Measure BatchNorm's statistics anew on training images, without labels; ours
    init.recalibrate = False

    # How a finished network is used, by predict and evaluate.
    config.predict = predict = ConfigDict()
    # True: the mean over mirrored and turned slices, as far as the augmentation knew
    # them | "auto": off, as on Hippocampus it costs 20 points; ours
    predict.mirror = FieldReference("auto", field_type=object)
    # True: of every class | "foreground": the same, within the largest piece of all
    # classes together | "auto": of what is one piece in every training mask, if several
    # classes touch; else with 5 labelled patients, patches or UniMatch; ours
    predict.largest_component = FieldReference("auto", field_type=object)

    config.log = log = ConfigDict()
    log.metrics_every = 20  # steps
    # Steps, downstream; ten times a run at least. 0: at the end only.
    log.validate_every = 500
    log.checkpoint_every = 1000  # steps
    log.checkpoint_minutes = 5.0  # and at least this often
    # Validations between two pictures of predictions in TensorBoard; in a pretraining
    # measurements between two pictures of views. 0: no pictures
    log.pictures_every = 5
    log.wandb = ""  # the project in Weights & Biases; "": none
    log.mlflow = ""  # MLflow's tracking URI, such as http://localhost:5000; "": none
    return config


def _augment() -> ConfigDict:
    """Makes the changes of labelled slices. They are mild, and never 1 - x."""
    augment = ConfigDict()
    # | "released": intensities only, in fine-tuning and in probing. Probing never
    # moves slices, and with "default" it does not change them at all.
    augment.recipe = "default"
    augment.spatial = spatial = ConfigDict()
    # Most slices stay upright, because orientation tells some classes apart. A share
    # is turned or mirrored, because some patients lie differently. Chosen on three
    # data sets (docs/results/notes.md); ours.
    spatial.max_rotation = math.pi  # rad
    spatial.rotation_probability = 0.3
    spatial.extent = (0.7, 1.2)
    spatial.extent_probability = 1.0
    spatial.flip_probability = 0.15
    spatial.max_shift = (6 / 64, 6 / 64)  # of the side; ours
    spatial.shift_probability = 1.0
    spatial.shift_inside = False  # ours
    spatial.upright = FieldReference(False, field_type=object)
    spatial.elastic_probability = 0.0
    spatial.elastic_grids = (5, 9)
    spatial.elastic_reach = (8 / 128, 2.5 / 128)
    augment.intensity = intensity = ConfigDict()
    intensity.max_blur = 1.3
    intensity.blur_probability = 0.5
    intensity.max_bias_field = 0.9
    intensity.bias_field_probability = 0.75
    intensity.max_noise = 0.5 / 180
    intensity.noise_probability = 0.3
    intensity.max_gamma = 0.05
    intensity.gamma_probability = 0.9
    intensity.grey_levels = 180.0
    intensity.max_contrast = 0.2
    intensity.contrast_probability = 0.5
    intensity.max_brightness = 0.2
    intensity.brightness_probability = 0.5
    intensity.convolution_probability = 0.0
    intensity.reversal_probability = 0.0  # ours
    return augment


def _small(config: ConfigDict) -> None:
    """Changes the recipe for real scans on a laptop; chosen on ACDC (ours)."""
    config.data.update(crop="auto", spacing_mm="auto", normalization="auto", size=64)
    config.model.update(channels=(16, 32, 64, 128), num_features=64, last_hidden=16)
    config.model.update(scratch_num_features=64, dtype="float32")
    config.projection.update(hidden=(128,), features=64)
    config.spatial.update(max_rotation=math.pi, extent=(0.5, 1.1), flip_probability=0.5)
    config.spatial.update(max_shift=(6 / 64, 6 / 64), shift_inside=False)
    for spatial in (config.spatial, config.augment.spatial):
        spatial.upright = "auto"
    for intensity in (config.intensity, config.augment.intensity):
        intensity.update(max_blur=1.0, blur_probability=0.3)
        intensity.update(max_bias_field=0.5, bias_field_probability=0.5)
        intensity.update(max_noise=0.1, noise_probability=0.5)
        intensity.update(max_gamma=0.3, gamma_probability=0.5, grey_levels=1.0)
        intensity.max_contrast = 0.3
    # With a small network and a short pretraining reversal costs more than it brings:
    # dark lung and bright blood become one (docs/results/notes.md).
    config.intensity.reversal_probability = 0.0
    # λ of 0.005 is for 8,192 dimensions. With 64 it leaves them all alike, and a
    # tenfold gives the probe 21 points (docs/results/notes.md).
    config.pretrain.update(temperature=0.2, off_diagonal_weight=0.05, num_points=256)
    # On a CPU half of MIDL's 8 images takes less than half the time: the activations
    # stay in the cache.
    config.pretrain.update(batch_size=4, num_steps=7000, learning_rate=1e-3)
    config.pretrain.update(schedule="cosine", warmup_steps=100)
    # Few validation slices of the labelled patients choose no better
    # (docs/results/notes.md).
    config.segmentation.keep = "last"
    config.probe.update(num_steps=1500, schedule="cosine")
    config.finetune.update(num_steps=3600, schedule="cosine", warmup_steps=50)
    config.finetune.update(backbone_learning_rate=1e-3)
    config.finetune.scratch_learning_rate = 3e-3  # the best of three
    config.init.recalibrate = True
    config.log.update(validate_every=100, checkpoint_every=400)


def _medium(config: ConfigDict) -> None:
    """Changes the recipe for real scans overnight on a CPU, or minutes on a GPU.

    Images are as fine as the paper's, and the network is `_small`'s with one more
    level: 16 to 256 channels. What is not named here is `_small`'s and was not tuned
    anew (ours).
    """
    _small(config)
    config.data.size = 128  # px; MIDL 4 "Data"
    config.model.channels = (16, 32, 64, 128, 256)
    # A pixel is as large as the paper's, and so the blur is too.
    for intensity in (config.intensity, config.augment.intensity):
        intensity.max_blur = 1.3
    # Four times as many pixels an image give four times as many points, and the steps
    # show as many images as MIDL's 200 epochs of ACDC. One core takes some 0.5 s a
    # step, and some 0.4 s in fine-tuning: a night for both on two cores.
    config.pretrain.update(num_points=1000, num_steps=70_000, warmup_steps=500)
    config.finetune.update(num_steps=20_000, warmup_steps=500)
    config.log.update(validate_every=200, checkpoint_every=1000)


def _quick(config: ConfigDict) -> None:
    """Changes the recipe for the phantom on two cores: `_small`, and less of it."""
    _small(config)
    config.data.update(name="phantom", classes=("BG", "RV", "MYO", "LV"))
    config.data.update(crop="center", spacing_mm=2.5, normalization="percentiles")
    config.model.update(channels=(8, 16, 32, 64), num_features=32, last_hidden=8)
    config.model.scratch_num_features = 32
    config.projection.update(hidden=(64,), features=32)
    # The phantom's hearts are turned by some 25° from each other and are of about one
    # size. So milder views suffice, and 1,100 steps do what 4,000 did before.
    for spatial in (config.spatial, config.augment.spatial):
        spatial.update(max_rotation=math.pi / 6, extent=(0.8, 1.1))
        spatial.update(rotation_probability=1.0, flip_probability=0.0)
        spatial.upright = False
    config.pretrain.update(num_steps=1100, learning_rate=6e-3, warmup_steps=50)
    config.pretrain.num_points = 128
    config.probe.update(num_steps=1000, learning_rate=1e-1)
    config.finetune.update(num_steps=150, warmup_steps=20)
    config.finetune.backbone_learning_rate = 3e-3
    config.finetune.scratch_learning_rate = 1e-2  # the best of three
    config.log.update(validate_every=50, checkpoint_every=200)
