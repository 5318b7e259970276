"""Strict YAML files: read into a record, or refused in one line that names the line to mend."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tpdeploy.errors import InputError, nearest

RecordT = TypeVar("RecordT", bound=BaseModel)

# The C parser is ten times faster; a source build of PyYAML may lack it.
Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def read_record(path: Path, kind: type[RecordT]) -> RecordT:
    """The YAML file `path` as a `kind`.

    Raises:
        InputError: missing file, broken YAML, unknown key or impossible value, with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"cannot read {path}: {reason}") from error
    return parse_record(text, kind, str(path))


def parse_record(text: str, kind: type[RecordT], name: str) -> RecordT:
    """The YAML document `text` as a `kind`; `name` stands for it in errors."""
    try:
        content = yaml.load(text, Loader)  # noqa: S506 - a SafeLoader in both cases
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise InputError(f"{name}{line}: not valid YAML: {problem}") from error
    if not isinstance(content, dict):
        raise InputError(f"{name}: expected a mapping of keys to values, got {content!r:.60}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(_refusal(text, kind, name, error)) from error


def dump_record(record: BaseModel) -> str:
    """A record as YAML in the order of its fields, unset values left out."""
    content = record.model_dump(mode="json", exclude_none=True)
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)


def _refusal(text: str, kind: type[BaseModel], name: str, error: ValidationError) -> str:
    # A key with a typing error is both unknown and missing: the unknown one is there to be seen.
    first, *others = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    line = _line_of(text, first["loc"])
    where = ".".join(str(part) for part in first["loc"]) or "the whole file"
    more = f" (and {len(others)} more)" if others else ""
    return f"{name}:{line}: {where}: {_mend(kind, first)}{more}"


def _mend(kind: type[BaseModel], error: ErrorDetails) -> str:
    """What is wrong, in words; for an unknown key of the top level, the nearest known one."""
    if error["type"] == "extra_forbidden":
        hint = nearest(str(error["loc"][-1]), kind.model_fields) if len(error["loc"]) == 1 else ""
        return f"unknown key{'; ' + hint if hint else ''}"
    message = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    return message if isinstance(value, dict | list) else f"{message}, got {value!r}"


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """The line (from 1) of the innermost part of `location` that the document holds."""
    node = yaml.compose(text, Loader)
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
