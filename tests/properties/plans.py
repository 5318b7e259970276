"""A command line of `tpdeploy plan`, and what it answers, asked in this process."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from math import isfinite
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Any

from tests.cli.commands import tpdeploy

Json = dict[str, Any]
Split = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Case:
    """A model, GPUs and options. It prints as the command that repeats it."""

    model: str
    gpus: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def args(self) -> tuple[str, ...]:
        """Words of the command line."""
        # An option without a value, as --ep, has an empty one.
        words = [word for option in self.options for word in option if word]
        return ("plan", self.model, "--gpus", self.gpus, *words)

    def __repr__(self) -> str:
        return " ".join(("tpdeploy", *self.args))

    def option(self, name: str) -> str | None:
        """What an option is given, None without it."""
        return dict(self.options).get(name)

    def given(self, **options: object) -> "Case":
        """The case with options of these names: `input_tokens=8` is --input-tokens 8.

        None takes an option away and True gives it without a value.
        """
        kept = dict(self.options)
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            kept.pop(flag, None)
            if value is not None:
                kept[flag] = "" if value is True else str(value)
        return replace(self, options=tuple(kept.items()))

    def on(self, gpus: str) -> "Case":
        """The case on other GPUs."""
        return replace(self, gpus=gpus)


@dataclass(frozen=True)
class Answer:
    """The exit code and the document of `tpdeploy plan --json`."""

    code: int
    written: str
    told: str

    @property
    def feasible(self) -> bool:
        """Whether there is a plan."""
        return self.code == 0

    @property
    def json(self) -> Json:
        """The document: a plan, or a refusal with its alternatives."""
        document: Json = json.loads(self.written)
        return document

    @property
    def ttft_ms(self) -> float:
        """At the target's statistic, else the median."""
        return float(self.json["prediction"]["ttft_ms"]["value"])

    @property
    def tpot_ms(self) -> float:
        """At the target's statistic, else the median."""
        return float(self.json["prediction"]["tpot_ms"]["value"])

    @property
    def tokens_per_s(self) -> float:
        """Of all replicas together."""
        return float(self.json["prediction"]["output_tokens_per_s"]["value"])

    @property
    def requests_per_s(self) -> float:
        """Of all replicas together."""
        return float(self.json["prediction"]["requests_per_s"]["value"])

    @property
    def kv_tokens(self) -> int:
        """That one replica's KV cache holds."""
        return int(self.json["memory_per_gpu"]["kv_cache_tokens"])

    @property
    def split(self) -> Split:
        """Tensor, pipeline, data, expert, replicas."""
        return split_of(self.json["parallelism"])

    @property
    def devices(self) -> int:
        """Devices that are used."""
        tensor, pipeline, data, _, replicas = self.split
        return tensor * pipeline * data * replicas


# What the running check has asked, to be repeated by hand if it fails.
asked: list[Case] = []
# Exit codes of the commands that were run since a test began; 0 is a plan.
made: Counter[int] = Counter()


def ask(case: Case) -> Answer:
    """What a case answers; planned once."""
    asked.append(case)
    return _planned(case)


@lru_cache(maxsize=4096)
def _planned(case: Case) -> Answer:
    return ask_anew(case)


def ask_anew(case: Case) -> Answer:
    """What a case answers: within the promises that hold for every answer."""
    result = _run(case, "--json")
    assert result.returncode in {0, 2, 3}, result.stderr
    assert "Traceback" not in result.stderr
    if result.returncode:
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    if result.stdout:
        json.loads(result.stdout, parse_constant=_refuse)
    return Answer(result.returncode, result.stdout, result.stderr)


def text(case: Case) -> str:
    """What a case prints for people."""
    return _run(case).stdout


def _run(case: Case, *more: str) -> CompletedProcess[str]:
    home = Path(_home().name)
    (home / "plan.yaml").unlink(missing_ok=True)  # that another one is replaced is not said
    result = tpdeploy(*case.args, *more, home=home, width=200)
    made[result.returncode] += 1
    return result


def only(case: Case, split: Split) -> Case:
    """The case with one split asked for."""
    tensor, pipeline, data, expert, replicas = split
    fixed = case.given(tp=tensor, pp=pipeline, dp=data, replicas=replicas, ep=None, no_ep=None)
    if tensor * data == 1:
        return fixed
    return fixed.given(ep=True) if expert > 1 else fixed.given(no_ep=True)


def exactly(case: Case, split: Split, limits: Json) -> Case:
    """The case with one split, and the steps that it was given, asked for."""
    return only(case, split).given(max_num_batched_tokens=limits["max_num_batched_tokens"])


def split_of(part: Json) -> Split:
    """Tensor, pipeline, data, expert and replicas of a plan's split or of an alternative."""
    tensor, pipeline, data = part["tensor"], part["pipeline"], part["data"]
    return tensor, pipeline, data, part["expert"], part["replicas"]


def numbers(value: Any) -> list[float]:
    """Every number of a document."""
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, list):
        return [n for part in value for n in numbers(part)]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [float(value)] if is_number and isfinite(value) else []


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no number of a plan")


@cache
def _home() -> TemporaryDirectory[str]:
    """Where the plans of these cases are kept, for as long as this process runs."""
    return TemporaryDirectory()
