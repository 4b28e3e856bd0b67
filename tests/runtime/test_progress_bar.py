"""A log file gets few lines of a progress bar, and always the last."""

import importlib.util
import sys
import time
import types

import pytest
import tqdm.notebook

from pix2rep_jax.runtime.progress_bar import open_progress_bar


@pytest.mark.parametrize("hours", [0, 3])
def test_a_log_file_gets_a_line_per_minute_and_the_last(monkeypatch, capfd, hours):
    """500 scans of 0.02 s each write two lines; 500 in three hours write 180."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with open_progress_bar(500, description="read", unit="scan") as bar:
        monkeypatch.setattr(bar, "_time", lambda: bar.start_t + clock[0] - 1000)
        for _ in range(500):
            clock[0] += hours * 3600 / 500 or 0.02
            bar.update()
    lines = capfd.readouterr().err.splitlines()
    assert "500/500" in lines[-1] and "scan" in lines[-1]
    assert len(lines) <= 182 if hours else len(lines) == 2
    assert not hours or len(lines) > 120


def test_an_inner_bar_moves_no_cursor_in_a_log_file(capfd):
    with open_progress_bar(1, description="predict", unit="scan") as outer:
        with open_progress_bar(2, description="compare", leave=False) as inner:
            inner.update(2)
        outer.update()
    said = capfd.readouterr().err
    assert "\x1b" not in said
    assert [line.split(":")[0] for line in said.splitlines()][-1] == "predict"
    assert "compare: step 2/2" in said


def test_short_work_says_nothing(capfd):
    """Nor does work that is done, or that nobody wants to see."""
    for options in ({"delay_s": 5}, {"show": False}, {"initial": 20}):
        with open_progress_bar(20, description="read", **options) as bar:
            for _ in range(20):
                bar.update()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_has_a_notebooks_bar(monkeypatch, capfd, widgets):
    """Without ipywidgets it is a line of text that is drawn over itself."""
    shell = types.SimpleNamespace(kernel=object())
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    found = object() if widgets else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    opened = []
    monkeypatch.setattr(
        tqdm.notebook, "tqdm", lambda **options: opened.append(options) or tqdm.tqdm()
    )
    with open_progress_bar(20, description="read", unit="scan") as bar:
        bar.update(20)
        bar.refresh()
    assert len(opened) == widgets
    assert widgets or "\rread" in capfd.readouterr().err
    assert not widgets or (opened[0]["total"], opened[0]["desc"]) == (20, "read")
