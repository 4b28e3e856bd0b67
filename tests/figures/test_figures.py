"""Pictures of a run: what is drawn is where it must be, and what is missing is said."""

import dataclasses
import errno
import functools

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.ndimage import map_coordinates

from configs.pix2rep import get_config
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.held_out import ways_to_test
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.report import read_foreground_dice, write_evaluation
from pix2rep_jax.evaluation.volume_score import VolumeScore
from pix2rep_jax.figures import embedding_map, panels, selection
from pix2rep_jax.figures.curves import draw_curves
from pix2rep_jax.figures.drawing import (
    draw_outlines,
    mask_outlines,
    save,
    show_image,
)
from pix2rep_jax.figures.predictions import choose_volumes, draw_predictions
from pix2rep_jax.figures.sampled_views import sample_views, some_slices
from pix2rep_jax.figures.similarity import (
    argmax_pixel,
    draw_similarity,
    innermost_pixel,
    query_pixels,
)
from pix2rep_jax.figures.views import choose_points, draw_views, warped_grid
from pix2rep_jax.inference.compared_pixels import similarity
from pix2rep_jax.methods.pretraining import pix2rep
from pix2rep_jax.models.build import initialise, make_segmentation_net
from pix2rep_jax.modes import figures
from pix2rep_jax.modes.run_pictures import draw_scored
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.metric_log import read_metrics
from pix2rep_jax.study.report.dice_by_patients import draw_dice
from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.state import create_state
from pix2rep_jax.views.affine import sample_pull_matrix, sample_sources
from pix2rep_jax.views.sampling import make_views
from tests.support.motions import STILL
from tests.support.patients import make_data, make_dataset, make_volumes
from tests.support.run_folder import begin_run

CLASSES = ("BG", "RV", "MYO", "LV")
SPATIAL = {
    "max_rotation": np.pi,
    "extent": (0.5, 1.1),
    "flip_probability": 0.5,
    "max_shift": (6 / 32, 6 / 32),
}
# Reversal alone: what is left out need not be compiled.
INTENSITY = {
    name: 0.5 * (name == "reversal_probability") if "probability" in name else value
    for name, value in get_config("quick").intensity.to_dict().items()
}


def pull(matrix, positions, shape):
    """φ⁻¹ of array positions, written out."""
    middle = (np.array(shape) - 1) / 2
    return (positions - middle) @ matrix[:, :2].T + matrix[:, 2] + middle


def push(matrix, positions, shape):
    """φ of array positions: the inverse, by linear algebra."""
    middle = (np.array(shape) - 1) / 2
    moved = np.linalg.solve(matrix[:, :2], (positions - middle - matrix[:, 2]).T)
    return moved.T + middle


def in_frame(points, start, end):
    """Points along and across the line from one point to another."""
    along = (end - start) / np.linalg.norm(end - start)
    across = np.array([-along[1], along[0]])
    return (points - start) @ along, (points - start) @ across


@pytest.mark.parametrize("seed", range(4))
def test_the_grid_is_carried_as_phi_carries_its_points(seed):
    """Every drawn point is φ of a grid line's, and φ of every one in view is drawn."""
    shape, spacing = (32, 32), 4.0
    drawn = sample_pull_matrix(jax.random.key(seed), height=32, width=32, **SPATIAL)
    matrix = np.asarray(drawn, np.float64)
    pixels = np.stack(np.mgrid[:32, :32], -1).astype(float)
    sources = pull(matrix, pixels.reshape(-1, 2), shape).reshape(32, 32, 2)
    valid = ((sources >= 0) & (sources <= 31)).all(-1)
    grid = warped_grid(sources, valid, spacing=spacing)
    whole = valid[:-1, :-1] & valid[1:, :-1] & valid[:-1, 1:] & valid[1:, 1:]
    for axis, lines in enumerate(grid):
        drawn = 0
        for level in 15.5 + spacing * np.arange(-3, 4):
            line = np.stack([np.full(500, level), np.linspace(0, 31, 500)], -1)
            carried = push(matrix, line if axis == 0 else line[:, ::-1], shape)
            frames = [in_frame(x, carried[0], carried[-1]) for x in lines]
            own = [along for along, across in frames if np.abs(across).max() < 1e-3]
            drawn += len(own)
            carried = carried[((carried >= 0) & (carried < 31)).all(1)]
            carried = carried[whole[tuple(carried.astype(int).T)]]
            if len(carried):
                (along,) = own
                expected, _ = in_frame(carried, *push_ends(matrix, axis, level, shape))
                assert along.min() - 1e-3 <= expected.min()
                assert along.max() + 1e-3 >= expected.max()
        assert drawn == len(lines) > 0


def push_ends(matrix, axis, level, shape):
    """φ of the two ends of a grid line."""
    ends = np.array([[level, 0.0], [level, 31.0]])
    return push(matrix, ends if axis == 0 else ends[:, ::-1], shape)


def test_the_grid_at_rest_is_regular():
    """Without a motion the lines are straight, go through the middle and across."""
    pixels = np.stack(np.mgrid[:16, :24], -1).astype(float)
    rows, columns = warped_grid(pixels, np.ones((16, 24), bool), spacing=4)
    for line, level in zip(rows, (3.5, 7.5, 11.5), strict=True):
        np.testing.assert_allclose(line[:, 0], level)
        assert sorted(line[[0, -1], 1]) == [0, 23]
    for line, level in zip(columns, (3.5, 7.5, 11.5, 15.5, 19.5), strict=True):
        np.testing.assert_allclose(line[:, 1], level)


def test_an_elastic_grid_is_drawn_bent():
    """Every drawn point has its line's source row or column, and lines that the affine
    map would leave straight are not."""
    sources = np.asarray(
        sample_sources(
            jax.random.key(0),
            height=32,
            width=32,
            **STILL,
            elastic_probability=1.0,
            elastic_grids=(5, 9),
            elastic_reach=(8 / 128, 2.5 / 128),
        )
    )
    valid = ((sources >= 0) & (sources <= 31)).all(-1)
    for axis, lines in enumerate(warped_grid(sources, valid, spacing=4.0)):
        assert len(lines) >= 7
        bends = []
        for line in lines:
            place = map_coordinates(sources[..., axis], line.T, order=1)
            np.testing.assert_allclose(place, np.median(place), atol=0.05)
            bends.append(np.ptp(line[:, axis]))
        assert max(bends) > 0.5


def draw_some_views(seed=0):
    image = jax.random.uniform(jax.random.key(seed), (2, 32, 32, 1))
    make = functools.partial(make_views, spatial=SPATIAL, intensity=INTENSITY)
    views = jax.tree.map(np.asarray, jax.jit(make)(jax.random.key(seed + 1), image))
    points = []
    for valid, sources in zip(views.valid, views.sources, strict=True):
        shuffled = np.random.default_rng(0).permutation(np.argwhere(valid))
        points.append(choose_points(shuffled, sources, number=5))
    figure = draw_views(
        np.asarray(image[..., 0]),
        views.view_a[..., 0],
        views.view_b[..., 0],
        views.sources,
        views.valid,
        points,
    )
    return views, points, figure


def test_the_same_marker_stands_on_the_same_point_in_both_views():
    """A point's marker in v lies where φ⁻¹ takes its marker in φ·v'."""
    views, points, figure = draw_some_views()
    axes = np.reshape(figure.axes, (2, 4))
    for row in range(2):
        drawn = [
            [
                (line.get_marker(), line.get_color(), *line.get_xydata()[0])
                for line in axes[row, column].lines
                if line.get_marker() not in ("", "None", None)
            ]
            for column in (1, 2)
        ]
        assert len(drawn[0]) == len(drawn[1]) == 5
        assert len({marker[:2] for marker in drawn[0]}) == 5
        for (*style_a, i_a, j_a), (*style_b, i_b, j_b) in zip(*drawn, strict=True):
            assert style_a == style_b
            assert views.valid[row, int(i_b), int(j_b)]
            np.testing.assert_allclose(
                (i_a, j_a), views.sources[row, int(i_b), int(j_b)]
            )
        # Where both show the same, up to t and t': the panels are the views.
        shown = [ax.images[0].get_array().T for ax in axes[row]]
        np.testing.assert_array_equal(shown[1], views.view_a[row, ..., 0])
        np.testing.assert_array_equal(shown[2], views.view_b[row, ..., 0])
        np.testing.assert_array_equal(shown[3], views.valid[row])
    assert [len(p) for p in points] == [5, 5]


def test_sampled_views_mark_no_padding():
    """In slices that are mostly padding, what is shown as valid has its source in the
    scan, and so have the points; the lines of the grid end there."""
    size, box = 32, np.array([[8, 21, 10, 20], [0, 31, 12, 19]], np.int32)
    images = np.random.default_rng(0).random((2, size, size, 1), np.float32)
    shown = sample_views(
        jax.random.key(0), images, box, spatial=SPATIAL, intensity=INTENSITY
    )
    low, high = box[:, None, None, ::2] - 1e-3, box[:, None, None, 1::2] + 1e-3
    scan = ((shown.sources >= low) & (shown.sources <= high)).all(-1)
    np.testing.assert_array_equal(shown.valid, scan)
    assert 0.02 < scan.mean() < 0.6
    for points, mask, sources in zip(shown.points, scan, shown.sources, strict=True):
        assert len(points) == 5 and mask[tuple(points.T)].all()
        for axis, lines in enumerate(warped_grid(sources, mask, spacing=size / 8)):
            for line in lines:
                place = map_coordinates(sources[..., axis], line.T, order=1)
                assert place.min() > -0.5 and place.max() < size - 0.5


def test_some_slices_come_with_their_own_boxes():
    """The box of a slice is that of the same row of the data set."""
    dataset = make_dataset(make_volumes(range(1, 7)))
    number = np.arange(len(dataset.images))
    dataset = dataclasses.replace(
        dataset,
        images=np.broadcast_to(number[:, None, None, None], (len(number), 2, 2, 1)),
        boxes=np.broadcast_to(number[:, None], (len(number), 4)),
    )
    split = make_split(dataset, get_config("small").data, draw_labeled=False)
    images, boxes = some_slices(dataset, split, side=2)
    np.testing.assert_array_equal(images[:, 0, 0, 0], boxes[:, 0])
    assert len(boxes) > 1 and (np.diff(boxes[:, 0]) > 0).all()


def test_points_are_apart_where_there_is_room_and_all_taken_where_not():
    """They are apart in both views, and crowded candidates still give the number."""
    pixels = np.stack(np.mgrid[:40, :40], -1)
    sources = pixels * 0.9 + 2.0
    shuffled = np.random.default_rng(0).permutation(pixels.reshape(-1, 2))
    chosen = choose_points(shuffled, sources, number=5)
    apart = np.linalg.norm(chosen[:, None] - chosen, axis=-1)[~np.eye(5, dtype=bool)]
    assert apart.min() * 0.9 >= 8  # a fifth of 40, in the view that shrinks them
    crowded = choose_points(pixels[:2, :2].reshape(-1, 2), sources, number=3)
    assert len({tuple(p) for p in crowded}) == 3
    assert len(choose_points(pixels[0, :2], sources, number=5)) == 2
    assert len(choose_points(pixels[0, :0], sources, number=5)) == 0


def test_the_argmax_pixel_is_a_plain_loops():
    """Largest cosine over all pixels, whatever the lengths of the embeddings."""
    draw = np.random.default_rng(0)
    query, embeddings = draw.normal(size=6), draw.normal(size=(7, 9, 6))
    embeddings[2, 3] = 0
    best, where = -2.0, None
    found = similarity(query, embeddings)
    for i in range(7):
        for j in range(9):
            e = embeddings[i, j]
            lengths = sum(x * x for x in e) ** 0.5 * sum(x * x for x in query) ** 0.5
            dot = sum(x * y for x, y in zip(e, query, strict=True))
            expected = dot / lengths if lengths else 0.0
            assert found[i, j] == pytest.approx(expected, abs=1e-6)
            if expected > best:
                best, where = expected, (i, j)
    assert argmax_pixel(found) == where
    assert argmax_pixel(similarity(3 * query, 0.1 * embeddings)) == where


def test_similarity_marks_query_and_closest_and_names_the_class():
    """The picture's markers and notes are those of embeddings made to match."""
    draw = np.random.default_rng(0)
    embeddings = draw.normal(size=(3, 16, 16, 8)).astype(np.float32)
    pixels = {"LV": (4, 5), "MYO": (9, 2)}
    closest = {("LV", 1): (0, 15), ("LV", 2): (7, 7)}
    closest |= {("MYO", 1): (12, 1), ("MYO", 2): (3, 14)}
    for (name, other), pixel in closest.items():
        embeddings[(other, *pixel)] = 2 * embeddings[(0, *pixels[name])]
    labels = np.zeros((3, 16, 16), np.uint8)
    labels[1, 0, 15] = 3
    images = draw.uniform(0.2, 1, (3, 16, 16))
    figure = draw_similarity(
        images, embeddings, pixels, names="abc", labels=labels, classes=CLASSES
    )
    axes = np.reshape(figure.axes[:10], (2, 5))
    for own, name in zip(axes, pixels, strict=True):
        marked = [tuple(ax.lines[0].get_xydata()[0].astype(int)) for ax in own]
        expected = [pixels[name], *(closest[name, i] for i in (1, 1, 2, 2))]
        assert marked == expected
        for other in (1, 2):
            np.testing.assert_allclose(
                own[2 * other].images[0].get_array().T,
                similarity(embeddings[0][pixels[name]], embeddings[other]),
                rtol=1e-6,
            )
    assert axes[0, 1].get_xlabel() == "1.00 on LV"
    assert axes[1, 1].get_xlabel() == "1.00 on BG"
    # Without labels nothing is claimed about what lies there.
    figure = draw_similarity(images, embeddings, pixels, names="abc")
    assert figure.axes[1].get_xlabel() == "1.00"


def test_the_argmax_pixel_does_not_lie_in_air():
    """All patients have air alike, so it would say nothing."""
    embeddings = np.random.default_rng(0).normal(size=(2, 8, 8, 4))
    embeddings[1, 2, 2] = 2 * embeddings[0, 4, 4]
    embeddings[1, 5, 5] = embeddings[0, 4, 4] + 0.01
    images = np.full((2, 8, 8), 0.5)

    def closest():
        figure = draw_similarity(images, embeddings, {"LV": (4, 4)}, names="ab")
        return tuple(figure.axes[1].lines[0].get_xydata()[0].astype(int))

    assert closest() == (2, 2)
    images[1, 2, 2] = 0.02
    assert closest() == (5, 5)
    found = embeddings[1, ..., 0]
    assert argmax_pixel(found, np.zeros((8, 8), bool)) == argmax_pixel(found)


def test_of_several_slices_that_of_the_closest_pixel_is_drawn():
    """Each query has its own, with its own mask and its own map."""
    draw = np.random.default_rng(0)
    query, scan = draw.normal(size=(8, 8, 4)), draw.normal(size=(3, 8, 8, 4))
    pixels = {"LV": (4, 4), "MYO": (1, 6)}
    closest = {"LV": (2, 3, 5), "MYO": (0, 6, 1)}
    labels = np.zeros((3, 8, 8), np.uint8)
    for name, place in closest.items():
        scan[place] = 3 * query[pixels[name]]
        labels[place] = CLASSES.index(name)
    images = [np.ones((8, 8)), draw.uniform(0.2, 1, (3, 8, 8))]
    figure = draw_similarity(
        images,
        [query, scan],
        pixels,
        names="ab",
        labels=[np.zeros((8, 8), np.uint8), labels],
        classes=CLASSES,
    )
    axes = np.reshape(figure.axes[:6], (2, 3))
    for (_, picture, heat), (name, (slice_, *pixel)) in zip(
        axes, closest.items(), strict=True
    ):
        np.testing.assert_array_equal(
            picture.images[0].get_array().T, images[1][slice_]
        )
        expected = similarity(query[pixels[name]], scan[slice_])
        np.testing.assert_allclose(heat.images[0].get_array().T, expected, rtol=1e-6)
        assert [*picture.lines[0].get_xydata()[0].astype(int)] == pixel
        assert picture.get_xlabel() == f"1.00 on {name}"


def test_queries_lie_inside_what_they_are_named_after():
    """A disc's centre, a pixel of a ring, and fixed places where nobody has drawn."""
    row, column = np.mgrid[:32, :32]
    radius = np.hypot(row - 14, column - 18)
    label = np.where(radius < 6, 3, np.where(radius < 10, 2, 0)).astype(np.uint8)
    assert innermost_pixel(label == 3) == (14, 18)
    queries = query_pixels(label, classes=CLASSES, size=32)
    assert list(queries) == ["LV", "MYO"]
    assert all(label[queries[name]] == CLASSES.index(name) for name in queries)
    single = np.zeros((5, 5), bool)
    single[0, 4] = True
    assert innermost_pixel(single) == (0, 4)
    # The image's border is an edge too: a full image has its innermost pixel inside.
    assert innermost_pixel(np.ones((7, 9), bool)) == (3, 3)
    fixed = query_pixels(None, classes=CLASSES, size=32)
    assert len(fixed) == 3
    assert fixed == query_pixels(np.zeros((32, 32)), classes=CLASSES, size=32)


def test_outlines_run_half_way_to_the_pixels_outside():
    """A block's outline reaches half a pixel beyond its outermost pixels' centres."""
    mask = np.zeros((12, 14), bool)
    mask[2:5, 3:9] = True
    (line,) = mask_outlines(mask)
    np.testing.assert_array_equal(line[0], line[-1])
    assert (*line.min(0), *line.max(0)) == (1.5, 2.5, 4.5, 8.5)
    # Corners are cut from half a pixel to half a pixel, an eighth of a pixel each.
    rows, columns = line[:-1].T
    area = 0.5 * abs(rows @ np.roll(columns, 1) - columns @ np.roll(rows, 1))
    assert area == pytest.approx(3 * 6 - 4 / 8)
    assert mask_outlines(np.zeros((4, 4), bool)) == []
    ((*_,),) = [mask_outlines(np.ones((4, 4), bool))]  # closed at the border too
    mask[3, 5] = False
    assert len(mask_outlines(mask)) == 2  # a hole has an outline of its own


def test_outlines_lie_on_their_structure_in_the_panel():
    """The first axis goes right, the second down, and the outline with the image."""
    ax = Figure().subplots()
    label = np.full((20, 30), 255, np.uint8)
    label[12:16, 4:9] = 3
    show_image(ax, label == 3, spacing=(2.0, 1.0), box=(-0.5, 19.5, -0.5, 29.5))
    draw_outlines(ax, label, num_classes=4)
    (line,) = ax.lines
    assert (line.get_xdata().min(), line.get_xdata().max()) == (11.5, 15.5)
    assert (line.get_ydata().min(), line.get_ydata().max()) == (3.5, 8.5)
    assert ax.get_xlim() == (-0.5, 19.5)
    assert ax.get_ylim() == (29.5, -0.5)
    assert ax.images[0].get_array().T[12, 4]
    assert ax.get_aspect() == 0.5  # a row's pixel is drawn twice as wide as high


def test_best_median_and_worst_are_those_of_native_foreground(tmp_path):
    """Another resolution, background and volumes without a structure do not count."""
    dice = {"a": 0.5, "b": 0.9, "c": 0.1, "d": 0.7, "e": np.nan}
    scores = [
        VolumeScore(name, name, "ED", "", resolution, np.array([0.9, *3 * [value]]))
        for name, native in dice.items()
        for resolution, value in (("native", native), ("network", 1 - native))
    ]
    write_evaluation(tmp_path, scores, classes=CLASSES)
    native = read_foreground_dice(tmp_path / "per_volume.csv")
    assert native == {"a": 0.5, "b": 0.9, "c": 0.1, "d": 0.7}
    chosen = choose_volumes(native)
    assert chosen == {"best": "b", "median": "d", "worst": "c"}
    write_evaluation(tmp_path, scores[:4], classes=CLASSES)
    native = read_foreground_dice(tmp_path / "per_volume.csv")
    assert choose_volumes(native) == {"best": "b", "worst": "a"}
    assert choose_volumes({"a": 0.5}) == {"best": "a"}


def test_curves_are_the_logged_values(tmp_path):
    """Half a line and what was not finite are passed over."""
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 10, "loss": 2.0, "alignment": 0.5}\n'
        '{"step": 20, "loss": null, "alignment": 0.7}\n'
        '{"step": 20, "neighbour_rate": 0.25}\n'
        '{"step": 30, "loss": 1.0}\n[]\n{"step": 40, "lo'
    )
    series = read_metrics(path)
    assert series["loss"] == ([10, 30], [2.0, 1.0])
    assert series["alignment"] == ([10, 20], [0.5, 0.7])
    dice = {"val_dice": ([5, 10], [0.1, 0.2])}
    figure = draw_curves({"pretrain": series, "finetune": dice})
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        "pretraining loss",
        "alignment of positive pairs",
        "pixels found in the other view",
        "validation Dice, foreground",
    ]
    np.testing.assert_array_equal(
        figure.axes[0].lines[0].get_xydata(), [[10, 2.0], [30, 1.0]]
    )
    (lone,) = figure.axes[2].lines
    np.testing.assert_array_equal(lone.get_xydata(), [[20, 0.25]])
    assert lone.get_marker() == "o"  # a line through one point shows nothing
    np.testing.assert_array_equal(
        figure.axes[3].lines[0].get_xydata(), [[5, 0.1], [10, 0.2]]
    )
    with pytest.raises(ValueError, match="no metric"):
        draw_curves({"probe": {}})


# From here on: whole runs of tiny networks on a small phantom.


def tiny_config(cache_dir):
    config = get_config("quick")
    config.data.update(
        size=32,
        crop_px=32,
        spacing_mm=5.0,
        phantom_training=4,
        phantom_testing=3,
        cache_dir=str(cache_dir),
    )
    config.model.update(channels=(2, 4), num_features=4, last_hidden=2)
    config.projection.update(hidden=(4,), features=4)
    config.intensity.update(INTENSITY)
    return config


def write_run(folder, config, net, *, trainable):
    """The run of a random network: its settings, checkpoint and metrics."""
    params, batch_stats = initialise(net, jax.random.key(1), size=config.data.size)
    schedule = make_schedule("constant", num_steps=1, warmup_steps=0)
    tx = make_optimizer(dict.fromkeys(trainable, 0.1), schedule, weight_decay=0.0)
    state = create_state(
        params, batch_stats, tx, jax.random.key(0), trainable=trainable
    )
    dataset = load_dataset(config.data)
    split = make_split(dataset, config.data, draw_labeled=False)
    begin_run(folder, config, origin=folder.name != "pretrain" or None, split=split)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(state)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny_config(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, config):
    """A pretraining run and a scored fine-tuning run."""
    root = tmp_path_factory.mktemp("runs")
    write_run(
        root / "pretrain",
        config,
        pix2rep.make_net(config),
        trainable=("backbone", "projection"),
    )
    write_run(
        root / "finetune",
        config,
        make_segmentation_net(config),
        trainable=("backbone", "head"),
    )
    volumes = ("patient005_ED", "patient006_ES", "patient007_ED")
    scores = [
        VolumeScore(name, name[:10], name[-2:], "", "native", np.full(4, value))
        for name, value in zip(volumes, (0.2, 0.9, 0.4), strict=True)
    ]
    write_evaluation(root / "finetune", scores, classes=CLASSES)
    return root


def test_every_picture_is_written_as_png_and_pdf(workdir, config, capsys, monkeypatch):
    """With pretraining, segmenter and scores nothing is left out."""
    # t-SNE takes its time; it is tested by itself.
    monkeypatch.setattr(embedding_map, "project", lambda points, seed: points[:, :2])
    figures.run(config, workdir)
    names = ("curves", "data", "views", "similarity", "embeddings", "predictions")
    for name in names:
        png = (workdir / "figures" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
        pdf = (workdir / "figures" / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert len(pdf) > 5_000
    assert len(list((workdir / "figures").iterdir())) == 2 * len(names)
    said, progress = capsys.readouterr()
    assert "6/6" in progress
    assert "left out" not in said
    assert said.endswith(
        "made curves.png, data.png, views.png, similarity.png, embeddings.png, "
        "predictions.png in "
        f"{workdir / 'figures'}\n"
    )


def test_a_picture_whose_pdf_failed_is_drawn_anew(tmp_path, monkeypatch):
    """Its PNG says that both are there."""
    draw = Figure.savefig

    def fail(self, path, **options):
        if path.suffix == ".pdf":
            raise OSError(errno.ENOSPC, "full")
        draw(self, path, **options)

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(Figure, "savefig", fail)
        save(Figure(), tmp_path / "picture")
    assert not list(tmp_path.iterdir())
    assert save(Figure(), tmp_path / "picture").is_file()


def test_what_is_missing_is_said_and_the_rest_is_drawn(
    workdir, config, tmp_path, capsys, monkeypatch
):
    """Without a segmenter, or without its scores, the reason names the mend."""
    saved = []
    write = lambda figure, stem: saved.append(stem.name)  # noqa: E731
    monkeypatch.setattr(figures, "write_picture", write)
    # Drawn above; they take their time.
    for name in ("draw_patients", "draw_views", "draw_embedding_map"):
        monkeypatch.setattr(figures, name, lambda *_, **__: Figure())
    (tmp_path / "pretrain").symlink_to(workdir / "pretrain")
    figures.run(config, tmp_path)
    assert saved == ["curves", "data", "views", "similarity", "embeddings"]
    said = capsys.readouterr().out.splitlines()
    assert "predictions.png" in said[-2] and "predictions.png" not in said[-1]

    (tmp_path / "finetune").mkdir()
    for name in ("config.json", "run.json", "checkpoints"):
        (tmp_path / "finetune" / name).symlink_to(workdir / "finetune" / name)
    pictures = figures.list_pictures(config, tmp_path)
    with pytest.raises(InputError, match="--mode evaluate"):
        pictures["predictions"]()
    (tmp_path / "pretrain").unlink()
    with pytest.raises(InputError, match="--mode pretrain"):
        pictures["similarity"]()


def test_where_nobody_is_held_out_scoring_is_not_advised(tmp_path):
    """It would find nobody either; what helps is said in its place."""
    dataset = make_dataset(make_volumes([1]))
    data = make_data(holdout_per_group=0, num_labeled=1)
    split = make_split(dataset, data)
    with pytest.raises(InputError) as caught:
        draw_scored(data, dataset, split, tmp_path, evaluated=tmp_path)
    assert ways_to_test(dataset.volumes) in str(caught.value)


def test_without_its_scans_a_run_still_has_its_curves(workdir, config, capsys):
    """The reason is given once, for all that need them."""
    moved = config.copy_and_resolve_references()
    moved.data.name = "acdc"
    assert list(figures.list_pictures(moved, workdir)) == ["curves"]
    assert "data.name" in capsys.readouterr().out


def test_another_preparation_is_no_picture_of_this_network(workdir, config):
    """The field that differs is named; how many labels were asked is no matter."""
    other = config.copy_and_resolve_references()
    other.data.num_labeled = 1
    assert figures.list_pictures(other, workdir)["similarity"]()
    other.data.percentiles = (0.0, 100.0)
    with pytest.raises(InputError, match=r"data(\.|__)percentiles"):
        figures.list_pictures(other, workdir)["similarity"]()


def test_an_empty_workdir_has_nothing_to_draw(config, tmp_path):
    """One sentence with the mend, and no folder is made."""
    with pytest.raises(InputError, match="--mode pretrain"):
        figures.run(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_perfect_network_is_drawn_on_the_experts_outlines(config):
    """On the scan's own grid: image, expert and network agree, and the title says so.

    The grid of the network is the scan's here, so that nothing has to be resampled.
    """
    dataset = load_dataset(config.data)
    split = make_split(dataset, config.data, draw_labeled=False)
    volume = selection.first_volumes(dataset, split.test_patients, labeled=True)[0]
    record = dataset.volumes[volume]
    rows = np.flatnonzero(dataset.volume_index == volume)
    one_hot = np.eye(4, dtype=np.float32)[dataset.labels[rows]]
    panel = panels.predicted_panel(
        lambda images: one_hot, dataset, volume, rank="best", classes=CLASSES
    )
    image, label = panels.read_own_grid(record, num_classes=4)
    i = dataset.slice_index[selection.middle_slice(dataset, volume)]
    np.testing.assert_array_equal(panel.image, image[..., i])
    np.testing.assert_array_equal(panel.label, label[..., i])
    assert panel.label.any()
    agreement = (panel.prediction == panel.label)[panel.label > 0].mean()
    assert agreement > 0.6  # as good as a grid of 5 mm can be
    assert panel.title.startswith(
        f"best: {record.patient} ED ({record.group}), Dice 0."
    )
    figure = draw_predictions([panel], classes=CLASSES, mode="probe", note="a note")
    above, below = figure.axes
    assert len(above.lines) >= 3
    assert above.get_xlim() == below.get_xlim() == panel.box[:2]
    assert below.get_ylabel() == "network (probe)"
    assert figure.get_suptitle() == "a note"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "RV",
        "MYO",
        "LV",
    ]


def test_the_axis_of_patients_has_all_numbers_that_were_measured():
    """And of the paper's those that do not run into them; 100 stands beside 80."""
    values = {"Proposed": {1: [0.7, 0.8], 80: [0.9]}}
    paper = {"Proposed": {1: 84.7, 10: 91.2, 100: 94.1}}
    figure = draw_dice({"four": values, "foreground": values}, paper=paper)
    labels = [[x.get_text() for x in ax.get_xticklabels()] for ax in figure.axes]
    assert labels == [["1", "10", "80"], ["1", "80"]]
    # The paper's numbers, one of which has no label, stand in the first panel alone.
    points = [sum(len(x.get_xdata()) for x in ax.lines) for ax in figure.axes]
    assert points[0] - points[1] == len(paper["Proposed"])
