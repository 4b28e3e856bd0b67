"""CutMix's boxes: their area, their shape and their place."""

import jax
import numpy as np
import pytest

from pix2rep_jax.views.cutmix import paste, sample_box

OPTIONS = {"probability": 1.0, "area": (0.02, 0.4), "aspect": (0.3, 1 / 0.3)}


def draw(number, *, height=64, width=64, seed=0, **changes):
    """Boxes `[number, height, width]`."""
    options = {"height": height, "width": width, **(OPTIONS | changes)}
    one = jax.jit(jax.vmap(lambda key: sample_box(key, **options)))
    return np.asarray(one(jax.random.split(jax.random.key(seed), number)))


def sides(boxes):
    """Top, left, rows and columns of every box, by plain loops."""
    found = []
    for box in boxes:
        rows = [i for i, row in enumerate(box) if any(row)]
        columns = [i for i, column in enumerate(box.T) if any(column)]
        found.append((rows[0], columns[0], len(rows), len(columns)))
        # One full rectangle.
        assert rows == list(range(rows[0], rows[0] + len(rows)))
        assert columns == list(range(columns[0], columns[0] + len(columns)))
        assert box.sum() == len(rows) * len(columns)
    return np.array(found)


@pytest.mark.parametrize("width", [64, 96])
def test_boxes_have_the_area_and_the_shape_asked_for(width):
    """Within what rounding down to whole pixels takes; all of both ranges occurs."""
    top, left, rows, columns = sides(draw(1000, width=width)).T
    assert (top >= 0).all() and (top + rows <= 64).all()
    assert (left >= 0).all() and (left + columns <= width).all()
    area = rows * columns / (64 * width)
    assert area.max() <= 0.4 and ((rows + 1) * (columns + 1)).min() >= 0.02 * 64 * width
    assert area.min() < 0.03 and area.max() > 0.38
    shape = columns * 64 / width  # of a square image
    assert ((rows + 1) / shape >= 0.3).all()
    assert (rows / (shape + 64 / width) <= 1 / 0.3).all()
    assert (rows / shape).min() < 0.4 and (rows / shape).max() > 2.5


def test_boxes_lie_anywhere_inside():
    """They touch every border, and every pixel is in some of them."""
    boxes = draw(2000)
    top, left, rows, columns = sides(boxes).T
    assert top.min() == left.min() == 0
    assert (top + rows).max() == (left + columns).max() == 64
    assert boxes.any(0).all()


def test_a_box_as_large_as_the_image_covers_it():
    """Neither side is longer than the image's, whatever the aspect."""
    assert draw(50, area=(1.0, 1.0)).all()
    long = sides(draw(200, area=(0.9, 0.9)))
    assert long[:, 2:].max() <= 64


@pytest.mark.parametrize(("probability", "low", "high"), [(0, 0, 0), (0.5, 0.45, 0.55)])
def test_so_many_images_get_a_box(probability, low, high):
    """None without a chance, and half of them with 0.5."""
    assert low <= draw(2000, probability=probability).any((1, 2)).mean() <= high


def test_pasting_is_a_loop_over_pixels():
    """The other's pixels in the box, the image's own elsewhere; labels alike."""
    box = draw(3, height=8, width=10)
    generator = np.random.default_rng(0)
    image, other = generator.normal(size=(2, 3, 8, 10, 2))
    label, label_other = generator.integers(0, 4, (2, 3, 8, 10))
    found, found_label = paste(box, image, other), paste(box, label, label_other)
    for place in np.ndindex(3, 8, 10):
        one = (other, label_other) if box[place] else (image, label)
        np.testing.assert_allclose(found[place], one[0][place], rtol=1e-6)
        assert found_label[place] == one[1][place]
