"""A headless Chromium, for the pages that the program writes."""

import html
import json
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"),
    *("--virtual-time-budget=20000", "--window-size=1280,1000"),
)


def find_browser():
    """The program; without one the test is skipped."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"there is no headless browser: none of {', '.join(NAMES)} is on PATH")


def run_in_page(page, script, *, address=""):
    """Opens a copy of a page that ends in a script, and returns what the script does.

    The script is the body of an asynchronous function, in which `explorer` is what the
    page has made. Errors on the page fail the test.
    """
    browser = find_browser()
    copy = page.with_name(f"{page.stem}-with-script.html")
    copy.write_text(
        page.read_text("utf-8")
        + f"""<script>
        const errors = [];
        addEventListener("error", (event) => errors.push(event.message));
        (async () => {{ const page = await explorer; {script} }})()
          .catch((error) => ({{ failed: String(error.stack) }}))
          .then((found) => {{
            const result = document.createElement("pre");
            result.id = "result";
            result.textContent = JSON.stringify({{ found, errors }});
            document.body.append(result);
          }});
        </script>""",
        "utf-8",
    )
    done = subprocess.run(
        [
            *(browser, *_OPTIONS, f"--user-data-dir={page.parent / 'profile'}"),
            f"file://{copy}#{address}",
        ],
        capture_output=True,
        text=True,
        timeout=180,
    )
    said = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.S)
    assert said, done.stdout[-500:] + done.stderr[-500:]
    result = json.loads(html.unescape(said[1]))
    assert result["errors"] == [] and "failed" not in result["found"], result
    return result["found"]
