"""The outputs on the pages are those of their commands, by a script."""

import re

import pytest

from tests.docs.pages import PAGES, shell_commands
from tests.docs.write_outputs import outputs, shorten, with_outputs

SHOWN = [block for page in PAGES for block in outputs(page.read_text("utf-8"))]
PAGE = """
```sh
one
```

<!-- output: ^a|z$ -->
```text
old
```

```text
kept
```
"""


def test_lines_are_chosen_and_the_rest_is_dots():
    """Each line once, and no dots at either end."""
    said = "x\nab\nx\ny\nfizz  \nab\nac\nx\n"
    assert shorten(said, "^a|z$") == "ab\n...\nfizz\n...\nac\n"


def test_only_what_is_marked_changes():
    """A second time changes nothing."""
    asked = []
    once = with_outputs(PAGE, lambda code: asked.append(code) or "b\nac\n")
    assert asked == ["one\n"]
    assert once == PAGE.replace("old", "ac")
    assert with_outputs(once, lambda code: "ac\n") == once


@pytest.mark.parametrize(("code", "wanted", "text"), SHOWN)
def test_what_a_page_shows_is_of_its_commands(code, wanted, text):
    """Every line is one that the marker asks for, and no path is of one machine."""
    assert len(text.splitlines()) > 3 and [*shell_commands(code)]
    for line in text.splitlines():
        assert line == "..." or re.search(wanted, line)
        assert not re.search(r"(^|[ '])/\w+/", line)


def test_the_first_half_hour_is_shown_for_both_data_sets():
    """From the check to the masks, by one flag and the classes."""
    modes = []
    for code, _, _ in SHOWN:
        words = [*shell_commands(code)]
        modes.append([each[each.index("--mode") + 1] for each in words])
    assert modes == [["check", "pretrain", "finetune", "predict"]] * 2
