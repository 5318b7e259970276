"""Strict YAML files are read into records or refused with the line to mend."""

from pathlib import Path

import pytest

from tpdeploy.errors import InputError
from tpdeploy.planner.workload import Workload
from tpdeploy.records import dump_record, parse_record, read_record


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
