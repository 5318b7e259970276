"""Programs that are asked: what they say, and what is said where they do not."""

import sys

import pytest

from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.told import told


def test_it_says_what_it_reads_and_has() -> None:
    """Its input, a variable, and its exit code."""
    program = "import os, sys; print(sys.stdin.read(), os.environ['SAID']); sys.exit(3)"
    done = told([sys.executable, "-c", program], 30, stdin="asked", variables={"SAID": "aloud"})
    assert (done.returncode, done.stdout) == (3, "asked aloud\n")


def test_one_that_takes_too_long_is_ended_and_named() -> None:
    """With the time that it had."""
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(TpdeployError, match=r"python\S* gave no answer for 0\.2 s"):
        told(sleep, 0.2)


def test_one_that_is_not_here_is_named() -> None:
    """In one line."""
    with pytest.raises(TpdeployError, match="no-such cannot be run: No such file or directory"):
        told(["no-such"], 30)
