"""Text in YAML 1.2, where ``on``, ``yes`` and ``no`` are words and ``1e-3`` is a number.

PyYAML reads YAML 1.1: ``on: val`` has the key True there, the class ``no`` is False, ``010`` is 8
and ``1:30`` is 90. What is written here is read alike by both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, ClassVar

import yaml

from .errors import ConfigurationError

__all__ = ["read_back", "read_yaml", "read_yaml_file", "write_yaml"]

_BREAKS = "\x85\u2028\u2029"  # line breaks that PyYAML does not escape in other styles
_TAG = "tag:yaml.org,2002:"
# The core schema of YAML 1.2.2, section 10.3.2.
_FORMS = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
}


class _Reader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Reads YAML 1.2, and refuses duplicate keys."""

    yaml_implicit_resolvers: ClassVar = {"<": [(f"{_TAG}merge", re.compile(r"<<$"))]}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Hashable, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
                continue
            line = key.start_mark.line + 1
            if (before := seen.setdefault((key.tag, key.value), line)) != line:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands in line {before} too", key.start_mark
                )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


class _Writer(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes every text that either version of YAML would read as something else."""

    yaml_implicit_resolvers: ClassVar = {
        first: list(pairs) for first, pairs in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: object) -> bool:
        return True


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(
        loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan")
    )


for _name, (_form, _first) in _FORMS.items():
    for _class in (_Reader, _Writer):
        _letters = ["" if letter == "\0" else letter for letter in _first]
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_form})$"), _letters)


def _plainly(kind: type) -> Callable[[Any, Any], yaml.Node]:
    """Write an object of a subclass as the built-in value it is: Lightning has enums of text."""

    def represented(writer: yaml.SafeDumper, data: Any) -> yaml.Node:
        return writer.represent_data(kind(data.value if isinstance(data, Enum) else data))

    return represented


def _text(writer: yaml.SafeDumper, data: str) -> yaml.Node:
    style = '"' if any(letter in data for letter in _BREAKS) else None
    return writer.represent_scalar(f"{_TAG}str", data, style)


_Writer.add_representer(str, _text)
for _kind in (str, int, float, list, dict):
    _Writer.add_multi_representer(_kind, _plainly(_kind))
_Writer.add_multi_representer(tuple, _plainly(list))
_Writer.add_multi_representer(PurePath, _plainly(str))
_Reader.add_constructor(f"{_TAG}int", _whole_number)
_Reader.add_constructor(f"{_TAG}float", _number)


def read_yaml(text: str, source: str = "") -> Any:
    """Read a text in YAML 1.2 or JSON.

    Args:
        text: What to read.
        source: Where it is from, for the error.

    Raises:
        ConfigurationError: If it cannot be read, with the line.

    >>> read_yaml("{on: val, names: [yes, no], lr: 1e-3, time: 1:30, half: .5}")
    {'on': 'val', 'names': ['yes', 'no'], 'lr': 0.001, 'time': '1:30', 'half': 0.5}
    """
    try:
        return yaml.load(text, Loader=_Reader)
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"{source or 'the text'} is not valid YAML: {_reason(error)}"
        ) from error


def _reason(error: yaml.YAMLError) -> str:
    """The problem and its line, from an error that shows a part of the text."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return f"{where}{error.problem or error.context}"


def read_yaml_file(path: str | Path) -> Any:
    """Read a file in YAML 1.2 or JSON.

    Raises:
        ConfigurationError: If there is none, or it cannot be read, with the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not a text file in UTF-8") from error
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ConfigurationError(f"{path} cannot be read: {reason}") from error
    return read_yaml(text, str(path))


def read_back(data: Any) -> Any:
    """Return what reading the text of :func:`write_yaml` returns, mostly without the text.

    >>> read_back({"path": PurePath("a"), "betas": (0.9, 0.99)})
    {'path': 'a', 'betas': [0.9, 0.99]}
    """
    if data is None or isinstance(data, bool):
        return data
    for kind in (str, int, float):
        if isinstance(data, kind):
            return kind(data.value if isinstance(data, Enum) else data)
    if isinstance(data, dict):
        return {read_back(name): read_back(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [read_back(value) for value in data]
    return str(data) if isinstance(data, PurePath) else read_yaml(write_yaml(data))


def write_yaml(data: object) -> str:
    """Write plain data as YAML that versions 1.1 and 1.2 read alike.

    >>> print(write_yaml({"on": "val", "stage": "1e-3", "lr": 1e-5}), end="")
    'on': val
    stage: '1e-3'
    lr: 1.0e-05
    """
    text: str = yaml.dump(data, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100)
    return text
