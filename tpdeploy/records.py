"""Strict YAML and JSON files: read, or refused in one line that names the line to mend."""

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.files import MOST_RECORD_BYTES, MOST_YAML_BYTES, read_text

RecordT = TypeVar("RecordT", bound=BaseModel)

# The C parser is ten times faster; a source build of PyYAML may lack it.
AnyLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Loader(AnyLoader):  # type: ignore[misc, valid-type]
    """YAML in which no key stands twice in a mapping: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping at `node`."""
        found: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    problem = f"the key {shown(key.value)} stands there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return found


def read_record(path: Path, kind: type[RecordT]) -> RecordT:
    """The YAML file `path` as a `kind`.

    Raises:
        InputError: missing file, broken YAML, unknown key or impossible value, with its line.
    """
    return parse_record(read_text(path, MOST_YAML_BYTES), kind, str(path))


def parse_record(text: str, kind: type[RecordT], name: str) -> RecordT:
    """The YAML document `text` as a `kind`; `name` stands for it in errors."""
    content = _parse_yaml(text, name)
    if not isinstance(content, dict):
        raise InputError(f"{name}: expected a mapping of keys to values, got {shown(content)}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(_refusal(text, kind, name, error)) from error


def _parse_yaml(text: str, name: str) -> object:
    try:
        if "&" in text:
            _refuse_shared(text, name)
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise InputError(f"{name}{line}: not valid YAML: {problem}") from error
    except (ValueError, OverflowError) as error:  # a date or a number that cannot be
        raise InputError(f"{name}: not valid YAML: {_digits(error)}") from error
    except RecursionError as error:
        raise InputError(f"{name}: not valid YAML: nested too deeply") from error


def _refuse_shared(text: str, name: str) -> None:
    """No alias of a list or mapping: a few of them within one another fill any memory."""
    anchors: set[str | None] = set()
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            anchors.add(event.anchor)
        elif isinstance(event, yaml.AliasEvent) and event.anchor in anchors:
            line = f":{event.start_mark.line + 1}" if event.start_mark else ""
            raise InputError(
                f"{name}{line}: lists and mappings have no aliases here: write *{event.anchor} out"
            )


def read_json(path: Path, most_bytes: int = MOST_RECORD_BYTES) -> object:
    """What the JSON file `path` holds.

    Raises:
        InputError: missing or unreadable file, or broken JSON.
    """
    return parse_json(read_text(path, most_bytes), str(path))


def read_json_record(path: Path, kind: type[RecordT]) -> RecordT:
    """The JSON file `path` as a `kind`.

    Raises:
        InputError: missing or unreadable file, broken JSON, unknown key or impossible value.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, kind)}") from error


def parse_json(text: str, name: str) -> object:
    """The JSON document `text`; `name` stands for it in errors.

    Raises:
        InputError: broken JSON, a key that stands twice in an object, a number or a depth beyond
            what Python reads.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise InputError(f"{name} is not valid JSON: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{name} is not valid JSON: {error}; is it truncated?") from error
    except ValueError as error:
        raise InputError(f"{name} is not valid JSON: {_digits(error)}") from error


def _digits(error: Exception) -> str:
    """What Python says of a value, but of long numbers, where it speaks to programmers."""
    return "a number of thousands of digits" if "digits" in str(error) else str(error)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {shown(twice)} stands there twice")
    return found


def first_problem(error: ValidationError, kind: type[BaseModel]) -> str:
    """What is wrong with the first value that a record refused, and where it stands."""
    # A key with a typing error is both unknown and missing: the unknown one is there to be seen.
    first, *others = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"]) or "the whole file"
    more = f" (and {len(others)} more)" if others else ""
    return f"{shown(where)}: {_mend(kind, first)}{more}"


def dump_record(record: BaseModel) -> str:
    """A record as YAML in the order of its fields, unset values left out."""
    content = record.model_dump(mode="json", exclude_none=True)
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)


def _refusal(text: str, kind: type[BaseModel], name: str, error: ValidationError) -> str:
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    return f"{name}:{_line_of(text, first['loc'])}: {first_problem(error, kind)}"


def _mend(kind: type[BaseModel], error: ErrorDetails) -> str:
    """What is wrong, in words; for an unknown key of the top level, the nearest known one."""
    if error["type"] == "extra_forbidden":
        hint = nearest(str(error["loc"][-1]), kind.model_fields) if len(error["loc"]) == 1 else ""
        return f"unknown key{'; ' + hint if hint else ''}"
    message = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    return message if isinstance(value, dict | list) else f"{message}, got {_quoted(value)}"


def _quoted(value: object) -> str:
    return f"'{shown(value)}'" if isinstance(value, str) else shown(value)


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """The line (from 1) of the innermost part of `location` that the document holds."""
    node = yaml.compose(text, Loader)  # what _parse_yaml has read
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
