"""The program that measures between machines, with an engine's PyTorch, twice on this machine."""

import json
import subprocess
from pathlib import Path

import pytest

from tpdeploy.backends.registry import load_backend
from tpdeploy.launcher.environments import find_environment
from tpdeploy.launcher.network import PROGRAM
from tpdeploy.launcher.runtimes.ports import free_ports

pytestmark = pytest.mark.engine

SIZES = (1024, 2**16)


def started(rank: int, port: int, python: Path) -> "subprocess.Popen[str]":
    """The part of one machine, with two ranks."""
    job = {"machines": 2, "each": 2, "on": "cpu", "sizes": SIZES, "repeats": 5}
    words = ("--rank", str(rank), "--head", "127.0.0.1", "--port", str(port))
    argv = [str(python), str(PROGRAM), *words, json.dumps({**job, "distribution": "vllm"})]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_several_ranks_on_each_of_two_machines() -> None:
    """One group alone, one for each rank of a machine at once, and all; the first part tells."""
    environment = find_environment(load_backend("vllm").environment("cpu"))
    assert environment is not None, "run: tpdeploy backends install vllm"
    (port,) = free_ports("127.0.0.1", 1)
    parts = [started(rank, port, environment.python) for rank in range(2)]
    told, other = (part.communicate(timeout=240)[0] for part in parts)
    assert [part.returncode for part in parts] == [0, 0]
    assert '"kind"' not in other
    first, *figures, last = [json.loads(line) for line in told.splitlines() if '"kind"' in line]
    assert (first["kind"], last["kind"]) == ("machines", "done")
    assert len(first["hosts"]) == 2
    shapes = [(line["group"], line["rails"], line["bytes"]) for line in figures]
    assert shapes == [(g, r, size) for g, r in ((2, 1), (2, 2), (4, 1)) for size in SIZES]
    assert all(line["seconds"] > 0 for line in figures)
