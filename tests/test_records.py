"""Strict YAML files are read into records or refused with the line to mend."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tpdeploy.errors import InputError
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.models.library import load_model
from tpdeploy.records import dump_record, parse_json, parse_record, read_record


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_record(text, Workload, "load.yaml")
    return str(caught.value)


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_name() -> None:
    """A typing error in a key says where it is and what was probably meant."""
    message = refusal("input_tokens: 8\nconcurency: 4\n")
    assert message.startswith("load.yaml:2: concurency: unknown key; did you mean concurrency?")


def test_a_wrong_type_in_a_nested_key_is_refused_with_its_line() -> None:
    """The line is the one of the innermost key, and the value is shown."""
    message = refusal("concurrency: 4\nttft:\n  at: p50\n  ms: fast\n")
    assert message.startswith("load.yaml:4: ttft.ms: ")
    assert "'fast'" in message


def test_broken_yaml_is_refused_with_its_line() -> None:
    """A file that is not YAML says where the parser gave up."""
    assert refusal("a: 1\nb: [1, 2\n").startswith("load.yaml:3: not valid YAML")


@pytest.mark.parametrize("text", ["", "- 1\n", "just words\n"])
def test_a_document_that_is_no_mapping_is_refused(text: str) -> None:
    """An empty file, a list or a sentence is not a record."""
    assert "expected a mapping" in refusal(text)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    """The path that was not there is named."""
    with pytest.raises(InputError, match=r"cannot read .*none\.yaml: No such file"):
        read_record(tmp_path / "none.yaml", Workload)


def test_a_record_survives_being_written_and_read() -> None:
    """What is dumped parses back to an equal record."""
    load = Workload.model_validate({"concurrency": 4, "ttft": {"ms": 5, "at": "p99"}})
    assert parse_record(dump_record(load), Workload, "x") == load


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input_tokens: 1\ninput_tokens: 2\n", "load.yaml:2: not valid YAML: the key input_tokens"),
        (
            "a: &x [1]\nb: *x\n",
            "load.yaml:2: lists and mappings have no aliases here: write *x out",
        ),
        ("a: " + "9" * 5000, "a number of thousands of digits"),
        ("a: 2020-13-45", "month must be in"),
        ("- " * 3000, "not valid YAML"),
        ("a: " + "[" * 3000, "not valid YAML"),
        ("input_tokens: " + "9" * 400, "load.yaml:1: input_tokens: "),
        ("rate: .inf\n", "rate: Input should be a finite number"),
        ("rate: 1e-300\n", "rate: Input should be greater than or equal to"),
        ("a\x1b: 1\n", "not valid YAML"),
    ],
)
def test_yaml_that_nobody_can_mean_is_refused_in_one_line(text: str, words: str) -> None:
    """Doubled keys, aliases that multiply, depths and numbers beyond all bounds."""
    assert words in refusal(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 3000, "nested too deeply"),
        ('{"a":' * 3000, "nested too deeply"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key c stands there twice"),
        ("9" * 5000, "a number of thousands of digits"),
        ('{"a": ', "is it truncated?"),
        ("", "is it truncated?"),
    ],
)
def test_json_that_nobody_can_mean_is_refused_in_one_line(text: str, words: str) -> None:
    """The same of JSON."""
    with pytest.raises(InputError) as caught:
        parse_json(text, "x.json")
    assert str(caught.value).startswith("x.json is not valid JSON: ")
    assert words in str(caught.value)


def test_a_changed_record_is_checked_as_a_new_one() -> None:
    """Other values, and names, that a record cannot have are refused; the rest stays."""
    split = Parallelism(tensor=4, replicas=2)
    assert split.changed(replicas=3) == Parallelism(tensor=4, replicas=3)
    for wrong in ({"replicas": 0}, {"replica": 3}, {"expert": 3}):
        with pytest.raises(ValidationError):
            split.changed(**wrong)


def test_a_record_that_has_keys_can_be_changed() -> None:
    """Of recurrent layers `keys` is a number, as a mapping's is not."""
    mixer = load_model("nvidia/Nemotron-H-56B-Base-8K").linear
    assert mixer and mixer.keys
    assert mixer.changed(kind="mamba") == mixer.model_copy(update={"kind": "mamba"})


def test_a_file_that_would_take_minutes_is_not_parsed(tmp_path: Path) -> None:
    """YAML beyond 4 MiB is refused by its size, in one line."""
    large = tmp_path / "plan.yaml"
    large.write_text("a: 1 # " + "x" * 4 * 2**20)
    with pytest.raises(InputError, match=r"cannot read .*plan.yaml: larger than 4 MiB"):
        read_record(large, Parallelism)
