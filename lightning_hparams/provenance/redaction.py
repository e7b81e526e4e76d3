"""Remove secrets from everything that is written.

A value hidden because of its name is hidden entirely: a false positive costs a value in a table, a
false negative a password.

Why not a scanner: scanners report the lines that contain a secret, not which part of them to keep.
Of the 350 forms in the tests (each with a secret of eight characters or of a published format),
detect-secrets 1.5 misses 288 as plain text and 275 as YAML, with false positives in 3 of 74
harmless texts; line by line with its eager search for random strings it misses 82, with 68 of 74.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from ..json_text import Json
from .secret_files import hide_in_patch
from .secret_names import is_random, is_strong, may_be_of_secret, sounds_secret
from .secret_phrases import is_harmless
from .secret_shapes import HIDDEN
from .secret_texts import is_plain_item

__all__ = ["redact", "sounds_secret"]

_SHORTEST = 6  # characters: hiding every "test" because it is a password would ruin a patch
_UNMISTAKABLE = 16  # from this length on it cannot be part of a longer word by chance
_NAMES = {"name", "key", "variable", "var", "field", "header", "param", "id", "option"}
_VALUES = {"value", "val", "default", "content", "values"}
# Members of a JSON web key, which has a "kty" (RFC 7518).
_OF_KEY = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}


def redact(value: Json, environ: Mapping[str, str]) -> Json:
    """Hide everything that looks like a secret.

    Hidden are values with a name such as ``api_key`` (see :func:`sounds_secret`) in a ``dict``,
    after an option, in an assignment or in a URL; user and password in a URL; tokens in the
    published formats of services; and every whole-word occurrence of the values of environment
    variables with such names, if they have at least six characters. In a patch of source code, an
    unquoted assigned value is another name and stays.

    >>> redact({"api_key": "abcd", "url": "https://me:pw@host/x", "cls_token": "mean"}, {})
    {'api_key': '<hidden>', 'url': 'https://<hidden>@host/x', 'cls_token': 'mean'}
    >>> redact(["train.py", "--hub-token", "abcd", "--lr=0.1 # hunter2"], {"PASSWORD": "hunter2"})
    ['train.py', '--hub-token', '<hidden>', '--lr=0.1 # <hidden>']
    """
    return _redact(value, _values(environ), "")


def _values(environ: Mapping[str, str]) -> list[re.Pattern[str]]:
    """Patterns of the secrets in the environment, longest first: one may be part of another."""
    values = {
        value
        for name, value in environ.items()
        if name != "PWD" and (sounds_secret(name) or re.search(r"(?i)(^|_)key$", name))
    }
    lines = {line.strip() for value in values for line in value.splitlines()}
    long_enough = {text for text in values | lines if len(text) >= _SHORTEST}
    texts = long_enough | {form for text in long_enough for form in _other_forms(text)}
    return [
        re.compile(re.escape(text) if len(text) >= _UNMISTAKABLE else _whole_word(text))
        for text in sorted(texts, key=lambda text: (-len(text), text))
    ]


def _other_forms(text: str) -> set[str]:
    """The same secret in a URL, in a quoted string, and in base64."""
    data = text.encode("utf-8", "surrogatepass")
    forms = {quote(data, safe=""), json.dumps(text)[1:-1], repr(text)[1:-1]}
    # The part of "user:password" in base64 that does not depend on its surroundings.
    for before in range(3 if len(data) >= 9 else 0):
        encoded = base64.b64encode(b"\0" * before + data).decode()
        first = 0 if not before else 4
        forms.add(encoded[first : 4 * ((before + len(data)) // 3)])
    return {form for form in forms if len(form) >= _SHORTEST}


def _whole_word(text: str) -> str:
    return rf"(?<!\w){re.escape(text)}(?!\w)"


def _redact(value: Json, secrets: Sequence[re.Pattern[str]], path: str) -> Json:
    match value:
        case str():
            return _redact_text(value, secrets)
        case list():
            return _redact_list(value, secrets, path)
        case dict():
            return _redact_dict(value, secrets, path)
        case _:
            return value


def _redact_list(
    values: Sequence[Json], secrets: Sequence[re.Pattern[str]], path: str
) -> list[Json]:
    """The arguments of a command, pairs of name and value, or any other list."""
    hidden: list[Json] = []
    option = ""
    for value in values:
        text = value if isinstance(value, str) else ""
        is_option = text.startswith("-") and len(text) > 1
        if option and not is_option and value is not None and not _is_assignment(text):
            value = _HIDDEN_VALUES[option](text) if option in _HIDDEN_VALUES else HIDDEN
        elif is_option:
            name = text.lstrip("-")
            takes = "=" not in text and sounds_secret(name)
            option = name if takes or text in ("-u", "--user") else ""
        elif len(values) > 2 and is_strong(text) and re.fullmatch(r"[A-Za-z][\w.-]*", text):
            option = text  # as in "config set db.password X"
        else:
            option = ""
        hidden.append(_redact(value, secrets, path))
    pairs = [
        (v[0], v[1])
        for v in values
        if isinstance(v, list) and len(v) == 2 and isinstance(v[0], str)
    ]
    if len(pairs) == len(values):
        return [
            [name, HIDDEN] if sounds_secret(name) and _hides(name, item) else redacted
            for (name, item), redacted in zip(pairs, hidden, strict=True)
        ]
    match values:
        case [str(name), str()] if is_strong(name) and re.fullmatch(r"[\w.-]+", name):
            return [name, HIDDEN]
    return hidden


def _is_assignment(text: str) -> bool:
    """Whether it assigns to another name: ``lr=0.1`` after a switch such as ``--use-token``."""
    found = re.match(r"[+~]*([A-Za-z][\w.@/-]{0,64})=(?!=*$)", text)
    return found is not None and not sounds_secret(found[1])


def _password_of(text: str) -> str:
    user, colon, password = text.partition(":")
    return f"{user}:{HIDDEN}" if colon and password else text


_HIDDEN_VALUES = {"u": _password_of, "user": _password_of}


def _redact_dict(
    value: Mapping[str, Json], secrets: Sequence[re.Pattern[str]], path: str
) -> dict[str, Json]:
    names = {key: f"{path}.{key}".lstrip(".") for key in value}
    beside = {n.rpartition(".")[0] for n in names.values() if sounds_secret(n)}
    by_name = {key.lower(): item for key, item in value.items()}
    named = [item for key, item in by_name.items() if key in _NAMES and isinstance(item, str)]
    of_secret = next((name for name in named if sounds_secret(name)), "")
    hidden: dict[str, Json] = {}
    for key, item in value.items():
        folder, _, last = names[key].rpartition(".")
        if sounds_secret(names[key]) or (last == "key" and folder in beside):
            hides = _hides(names[key], item)
        elif of_secret and key.lower() in _VALUES:
            hides = _hides(of_secret, item)
        elif by_name.get("kind") in ("Secret", "SealedSecret") and key in ("data", "stringData"):
            hides = item is not None
        elif "kty" in by_name and key in _OF_KEY:
            hides = isinstance(item, (str, list))
        else:
            hides = isinstance(item, str) and may_be_of_secret(key) and is_random(item)
        item = HIDDEN if hides else item
        hidden[_redact_text(key, secrets)] = _redact(item, secrets, names[key])
    return hidden


def _hides(name: str, value: Json) -> bool:
    """Whether a value with a secret's name is secret: with a weaker name, a number is a count."""
    if value is None or isinstance(value, bool):
        return False
    strong = is_strong(name)
    if isinstance(value, (int, float)):
        return strong
    if isinstance(value, str):
        return not is_harmless(value)
    if isinstance(value, list) and not strong:
        return not all(
            isinstance(v, (int, float)) or is_plain_item(str(v), strong=False) for v in value
        )
    return value not in ([], {}) if isinstance(value, (list, dict)) else True


def _redact_text(text: str, secrets: Sequence[re.Pattern[str]]) -> str:
    for secret in secrets:
        text = secret.sub(HIDDEN, text)
    return hide_in_patch(_redact_json(text))


def _redact_json(text: str) -> str:
    """Redact JSON in a string, where a value may be far from its name."""
    if text[:1] not in ("{", "[") or text.rstrip()[-1:] not in ("}", "]"):
        return text
    try:
        value = json.loads(text)
        hidden = _redact(value, (), "")
    except (ValueError, RecursionError):
        return text
    return text if hidden == value else json.dumps(hidden)
