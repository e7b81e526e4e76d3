"""What jsonargparse says over many lines, as one sentence."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Collection

from ..checks import names_like, nearest

__all__ = ["sentence"]

_PROBLEM = re.compile(r"(?m)^(?P<before>[ -]*)Problem with given class_path '(?P<path>[^']+)':\n")
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "NoneType": "null",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
}
Accepted = Callable[[str], Collection[str]]


def sentence(message: str, accepted: Accepted, key: str = "", path: str = "") -> str:
    """Reduce an error of jsonargparse to the innermost key, what it must be, and what it is.

    Args:
        message: The error.
        accepted: Arguments of a class, by its path.
        key: Key that the message is about.
        path: Path of the class whose arguments the message is about.

    >>> sentence("Group 'trainer' does not accept option 'epochs'", {"trainer": ["max_epochs"]}.get)
    "`trainer` has no argument 'epochs'; did you mean 'max_epochs'?"
    """
    text = textwrap.dedent(message).strip()
    if found := re.match(r'Parser key "([^"]+)":\s*', text):
        key = f"{key}.{found[1]}" if key else found[1]
        text = text[found.end() :]
    if found := _PROBLEM.search(text):
        inner = _indented(text[found.end() :], len(found["before"]))
        if key in ("trainer.callbacks", "trainer.logger"):  # lists of objects
            key = f"{key}.{found['path'].rpartition('.')[2]}"
        return sentence(inner, accepted, f"{key}.init_args", found["path"])
    if path.rpartition(".")[2] in ("LightningModule", "LightningDataModule", "Callback"):
        parent = key.removesuffix(".init_args").removesuffix(f".{path.rpartition('.')[2]}")
        if re.search(r"Option '(seed_everything|model|data|trainer)\b", text):
            return f"`{parent}` must be one part of a configuration; pass a whole one by --config"
        return (
            f"`{parent}` must be given a class before its arguments: `--{parent} CLASS`, "
            "or `class_path: CLASS` in a file"
        )
    if found := re.search(r"Option '(.+?)' is not accepted", text):
        return f"`{key}` has no argument {found[1]!r}{names_like(found[1], accepted(path) or ())}"
    if found := re.search(r"Group '(.+?)' does not accept option '(.+?)'", text):
        group, name = found[1], found[2]
        return f"`{group}` has no argument {name!r}{names_like(name, accepted(group) or ())}"
    if found := re.search(r"Subcommand '.+?' does not accept option '(.+?)'", text):
        group, _, name = found[1].rpartition(".")
        known = accepted(group) if group == "trainer" else ()
        return f"`{group or found[1]}` has no argument {name!r}{nearest(name, known or ())}"
    if found := re.search(r"the following arguments are required: (.+)", text):
        return f"{_listed(found[1], key)} must be given"
    if found := re.search(r"unrecognized arguments: (\S+)", text):
        option = found[1].partition("=")[0]
        kind = "option" if option.startswith("-") else "argument"
        return f"there is no {kind} {option}{nearest(option, accepted('') or ())}"
    if found := re.match(r"argument (\S+): expected one argument", text):
        return f"`{found[1]}` needs a value"
    if found := re.search(r"expects a function or a callable class.*Got value: (.*)", text):
        return f"`{key}` must name a function by its path, got {_quoted(found[1])}"
    if found := re.search(r"Expected a dot import path string: (.*)", text):
        return f"`{key}` must be the name of a class, or of a YAML file, got {_quoted(found[1])}"
    rules = [*dict.fromkeys(re.findall(r"Expected an? (.+?)(?:\. Got value: .*)?$", text, re.M))]
    if key and rules:
        value = re.findall(r"(?:Got value|Given value): (.*)", text)
        got = f", got {_quoted(value[0])}" if value else ""
        return f"`{key}` must be {' or '.join(map(_rule, rules))}{got}{_hint(rules, value)}"
    return " ".join(f"`{key}`: {text}".split() if key else text.split())


def _indented(text: str, indent: int) -> str:
    """The lines up to the first one that is not indented further."""
    lines = []
    for line in text.splitlines():
        if line.strip() and len(line) - len(line.lstrip(" -")) <= indent:
            break
        lines.append(line)
    return "\n".join(lines)


def _rule(rule: str) -> str:
    """A type as a person would say it.

    >>> _rule("<class 'int'>"), _rule("typing.Literal['a', 'b']"), _rule("list[str]")
    ('a whole number', "one of ['a', 'b']", 'list[str]')
    """
    if found := re.fullmatch(r"<class '(.+)'>", rule):
        return _TYPES.get(found[1], found[1].rpartition(".")[2])
    if found := re.fullmatch(r"(?:typing\.)?Literal(\[.+\])", rule):
        return f"one of {found[1]}"
    return rule.replace("typing.", "")


def _quoted(value: str) -> str:
    if found := re.fullmatch(r"NestedArg\(key=.*?, val=(.*)\)", value):
        return found[1]
    return value if re.fullmatch(r"[-+.\deE]+|[\[{].*|None|True|False", value) else repr(value)


def _listed(names: str, key: str) -> str:
    """Keys without the command that they are of."""
    keys = [
        re.sub(r"^(fit|validate|test|predict)\.", "", name.strip()) for name in names.split(",")
    ]
    above = f"{key}." if key else ""
    return " and ".join(f"`{above}{each}`" for each in keys)


def _hint(rules: list[str], values: list[str]) -> str:
    value = values[0] if values else ""
    if any("bool" in rule for rule in rules) and value.lower() in ("yes", "no", "on", "off"):
        return f"; write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    literals = [
        name for rule in rules if "Literal" in rule for name in re.findall(r"'(.+?)'", rule)
    ]
    return nearest(value, literals)
