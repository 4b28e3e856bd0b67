"""The program starts once more with its memory in huge pages, and only then works."""

import os
import subprocess
import sys

import pytest

from pix2rep_jax.runtime.huge_pages import use_huge_pages
from tests.support.program import ROOT

SHOW = (
    "from pix2rep_jax.runtime.huge_pages import use_huge_pages; use_huge_pages(); "
    "import os, sys; print(os.environ.get('GLIBC_TUNABLES'), *sys.argv[1:])"
)


def say(**changes):
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SHOW, "a b", "--c"],
        cwd=ROOT,
        env=environment | changes,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split(maxsplit=1)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_the_program_starts_again_with_its_arguments():
    """Once: the second start finds the setting and goes on."""
    assert say() == ["glibc.malloc.hugetlb=1", "a b --c\n"]


def test_a_setting_of_the_users_own_is_kept():
    """Even if it says nothing of huge pages."""
    tunables = "glibc.malloc.check=0"
    assert say(GLIBC_TUNABLES=tunables) == [tunables, "a b --c\n"]


def test_a_program_that_cannot_start_again_goes_on(monkeypatch):
    """Such as one whose interpreter lies in a folder of another user."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "execv", refuse)
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    monkeypatch.delenv("GLIBC_TUNABLES")
    use_huge_pages()
