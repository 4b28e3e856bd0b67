"""The page in a browser: its similarities, its mask and its controls."""

import base64
import json
import re
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest

from pix2rep_jax.explorer.explored_scan import ExploredScan
from pix2rep_jax.explorer.page import write_page
from pix2rep_jax.explorer.reduced_vectors import reduce_vectors
from pix2rep_jax.inference.compared_pixels import nearest_pixels, similarity
from tests.support.browser import run_in_page
from tests.support.program import ROOT

AFFINE = np.array(
    [[0, -2.5, 0.1, 80], [2.4, 0, 0, -30], [0.1, 0, 8.1, 12.5], [0, 0, 0, 1]]
)
CLICK = """
const canvas = page.scans[SCAN].parts.canvas, box = canvas.getBoundingClientRect();
const [, rows, columns] = page.scans[SCAN].facts.shape;
canvas.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true,
  clientX: box.left + ((ROW + 0.5) / rows) * box.width,
  clientY: box.top + ((COLUMN + 0.5) / columns) * box.height }));
"""


def make_scan(name, slices, *, step=1, seed=0, labels=False):
    """Smooth embeddings of 20 axes, the first row outside of the scan."""
    draw = np.random.default_rng(seed)
    size = 24
    values = draw.normal(size=(slices, size, size, 20)) / np.arange(1, 21)
    for axis in (1, 2):
        values += np.roll(values, 1, axis) + np.roll(values, -1, axis)
    values[:, 0] = 0
    first = (step - 1) // 2
    return ExploredScan(
        name=name,
        images=draw.integers(0, 255, (slices, size, size)).astype(np.uint8),
        embeddings=np.float32(values[:, first::step, first::step]),
        labels=draw.integers(0, 4, (slices, size, size)).astype(np.uint8)
        if labels
        else None,
        predictions=None,
        slices=np.arange(slices) * 2 + 1,
        first=first,
        step=step,
        affine=AFFINE,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page of three scans: one of them with a mask, one with fewer pixels."""
    path = tmp_path_factory.mktemp("page") / "explore.html"
    scans = [
        make_scan("first </script> <b>", 4),
        make_scan("second", 3, seed=1, labels=True),
        make_scan("third", 5, seed=2, step=2),
    ]
    reduced = reduce_vectors([scan.embeddings for scan in scans])
    assert reduced.largest_error < 0.02
    write_page(
        path, scans, reduced, title="T", about="A.", classes=("BG", "RV", "MYO", "LV")
    )
    return path, scans


def test_the_page_needs_no_other_file(made):
    """No address of another place stands in it."""
    text = made[0].read_text("utf-8")
    assert not re.search(r"\{\{\w+\}\}", text)
    assert not [word for word in ("http:", "https:", "src=", "@import") if word in text]
    assert text.count("</script>") == 3  # a name ends none


def test_a_name_stays_as_it_is(tmp_path):
    """Also one that looks like a place of the page, or like the end of an element."""
    path, names = tmp_path / "a.html", ["{{content}}", "</script>", "\\1 {{style}} é"]
    scans = [make_scan(name, 1) for name in names]
    reduced = reduce_vectors([scan.embeddings for scan in scans])
    write_page(path, scans, reduced, title="T", about="A.")
    facts = re.search(r'id="facts">(.*?)</script>', path.read_text("utf-8"), re.S)[1]
    assert [each["name"] for each in json.loads(facts)["scans"]] == names


def test_a_click_gives_the_similarities_that_python_computes(made):
    """To a hundredth in 99 of 100 pixels of all scans; and the same closest pixels."""
    path, scans = made
    click = CLICK.replace("SCAN", "0").replace("ROW", "9").replace("COLUMN", "14")
    found = run_in_page(
        path,
        f"""{click}
        return {{ query: page.state.query, held: page.state.held, hash: location.hash,
          status: document.getElementById("status").textContent,
          maps: page.scans.map((scan) => [...scan.similarity]),
          best: page.scans.map((scan, index) => page.pixelAt(index, scan.best)) }};""",
    )
    assert found["query"] == {"scan": 0, "slice": 2, "row": 9, "column": 14}
    assert found["held"] and "scan=0&slice=5&row=9&column=14" in found["hash"]
    query = scans[0].embeddings[2, 9, 14]
    for scan, shown, best in zip(scans, found["maps"], found["best"], strict=True):
        expected = similarity(query, scan.embeddings)
        inside = scan.embeddings.any(-1)
        shown = np.reshape(shown, expected.shape)
        errors = np.abs(shown - expected)[inside]
        assert np.percentile(errors, 99) <= 0.01 and errors.max() <= 0.02
        assert (shown[~inside] == -2).all() and (~inside).any()
        place = (best["slice"], best["row"], best["column"])
        closest = nearest_pixels(query, scan.embeddings)
        assert expected[place] >= closest.similarities[0] - 0.02


def test_slices_lie_as_in_figures(made):
    """Rows go to the right, and columns down."""
    path, scans = made
    found = run_in_page(
        path,
        """
        page.state.view = "image";
        const { parts, facts } = page.scans[1], [, rows, columns] = facts.shape;
        draw(page.scans[1], 1);
        const context = parts.canvas.getContext("2d");
        const seen = [];
        for (let row = 2; row < rows - 2; row++)
          for (let column = 2; column < columns - 2; column++)
            seen.push(context.getImageData((row + 0.5) / rows * parts.canvas.width,
              (column + 0.5) / columns * parts.canvas.height, 1, 1).data[0]);
        return { seen, shown: page.scans[1].shown };""",
    )
    image = scans[1].images[found["shown"], 2:-2, 2:-2].astype(float)
    seen = np.reshape(found["seen"], image.shape)
    assert np.corrcoef(seen.ravel(), image.ravel())[0, 1] > 0.9
    assert abs(np.corrcoef(seen.T.ravel(), image.ravel())[0, 1]) < 0.5


def test_the_address_and_the_keys_choose_a_pixel(made):
    """A slice is named as in the scan; arrows and pages move on, not over the edge."""
    path, _ = made
    found = run_in_page(
        path,
        """
        const press = (key) => page.scans[2].parts.canvas.dispatchEvent(
          new KeyboardEvent("keydown", { key, bubbles: true }));
        const before = { ...page.state.query };
        for (const key of ["ArrowDown", "ArrowRight", "PageUp", "PageUp", "PageUp"])
          press(key);
        const after = { ...page.state.query };
        press("Enter");
        const label = page.state.examples[0].label;
        window.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
        return { before, after, label, view: page.state.view, held: page.state.held,
          names: [...document.querySelectorAll("canvas, input, select, button")].map(
            (each) => each.getAttribute("aria-label") ?? each.labels?.[0]?.textContent
              ?? each.textContent) };""",
        address="scan=2&slice=5&row=8&column=13&view=components",
    )
    assert found["before"] == {"scan": 2, "slice": 2, "row": 4, "column": 7}
    assert found["after"] == {"scan": 2, "slice": 4, "row": 5, "column": 8}
    assert (found["label"], found["view"], found["held"]) == (1, "examples", False)
    assert all(name.strip() for name in found["names"])


def test_examples_become_a_mask_that_nibabel_reads(made):
    """Each pixel has the class of the example that it is most similar to."""
    path, scans = made
    found = run_in_page(
        path,
        """
        return page.scans.map((scan) =>
          btoa(String.fromCharCode(...page.maskFile(scan))));""",
        address="examples=1.0.1.5.5,3.1.3.20.7,0.2.1.12.12&least=0.3",
    )
    queries = np.stack(
        [
            scans[0].embeddings[0, 5, 5],
            scans[1].embeddings[1, 20, 7],
            scans[2].embeddings[0, 6, 6],
        ]
    )
    for scan, packed in zip(scans, found, strict=True):
        image = nib.Nifti1Image.from_bytes(base64.b64decode(packed))
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_allclose(image.affine, AFFINE, rtol=1e-6)
        np.testing.assert_allclose(
            image.header.get_zooms(), np.linalg.norm(AFFINE[:3, :3], axis=0), rtol=1e-6
        )
        maps = similarity(queries, scan.embeddings)
        expected = np.where(maps.max(0) >= 0.3, np.array([1, 3, 0])[maps.argmax(0)], 0)
        sure = np.abs(np.sort(maps, 0)[-1] - 0.3) > 0.02
        sure &= np.diff(np.sort(maps, 0)[-2:], axis=0)[0] > 0.02
        assert {0, 1, 3} <= {*expected[sure].tolist()} and sure.mean() > 0.6
        mask = np.moveaxis(np.asarray(image.dataobj), 2, 0)
        assert mask.shape == scan.images.shape
        part = mask[:, scan.first :: scan.step, scan.first :: scan.step]
        np.testing.assert_array_equal(part[sure], expected[sure])


def test_the_page_fits_a_phone(made):
    """At 390 px nothing lies beyond the right edge, and two scans stand in a row."""
    found = run_in_page(
        made[0],
        """
        const frame = document.createElement("iframe");
        frame.style = "width: 390px; height: 800px; border: 0";
        document.querySelectorAll("script").forEach((each) => each.remove());
        frame.srcdoc = document.documentElement.outerHTML;
        document.body.append(frame);
        await new Promise((done) => (frame.onload = done));
        const inside = frame.contentDocument;
        const tops = [...inside.querySelectorAll(".card")].map(
          (card) => card.getBoundingClientRect().top);
        return { needed: inside.documentElement.scrollWidth, tops };""",
    )
    assert found["needed"] <= 390
    assert found["tops"][0] == found["tops"][1] < found["tops"][2]


def test_the_program_is_valid_javascript():
    if not (node := shutil.which("node")):
        pytest.skip("node is not on PATH")
    path = ROOT / "pix2rep_jax" / "explorer" / "page.js"
    subprocess.run([node, "--check", path], check=True)


def test_the_types_of_the_program_fit():
    if not (tsc := shutil.which("tsc")):
        pytest.skip("tsc is not on PATH: npm install --global typescript")
    path = ROOT / "pix2rep_jax" / "explorer" / "page.js"
    options = ["--checkJs", "--noEmit", "--strict", "--target", "es2022"]
    done = subprocess.run([tsc, *options, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
