"""Leave secrets out of what is written down.

What is hidden for its name is hidden whole; erring on this side costs a value in a table, erring on
the other a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

__all__ = ["Json", "redact", "sounds_secret"]

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None

_HIDDEN = "<hidden>"

# Names that say so wherever it stands in them, separators aside.
_STRONG = re.compile(
    r"secret|password|passwd|passphrase|credential|authorization|bearer|webhook|connectionstring"
    r"|(api|access|private|account|storage|encryption|signing|licen[cs]e|deploy|subscription)key"
    r"|(api|hub|access|auth|refresh)token(?!iz)"
)
# Names that say so as the last word, but for a word before it that says otherwise.
_LAST = {"auth", "cookie", "cookies", "dsn", "jwt", "pass", "pat", "pwd", "sas", "token"}
_NOT_SECRET = {
    "token": (  # of a transformer, or of a text
        *("bos", "class", "cls", "context", "dist", "distill", "distillation", "empty", "end"),
        *("eos", "extra", "image", "img", "learnable", "learned", "mask", "masked", "max"),
        *("memory", "min", "next", "num", "object", "out", "pad", "patch", "per", "pos", "prompt"),
        *("query", "reg", "register", "sep", "special", "start", "stop", "text", "unk", "visual"),
        *("global", "go", "input", "mean", "n", "pool", "prefix", "sos", "summary"),
    ),
    "pass": (
        *("all", "backward", "band", "first", "forward", "high", "low", "multi", "second"),
        *("single", "two"),
    ),
}
# A "key" is one with such a word before it; alone, it is mostly that of a dictionary.
_KEY_OF = {
    *("access", "account", "api", "auth", "aws", "azure", "deploy", "encryption", "license"),
    *("master", "openai", "private", "s3", "secret", "service", "shared", "signing", "ssh"),
    *("storage", "wandb"),
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_RANDOM = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{16,}")

# Quantities are bounded, or their start is anchored: a patch may be one line of a megabyte.
_NAME = r"(?P<name>[A-Za-z_][\w.-]*)"
_START = r"(?<![\w.?&-])-{0,2}"
_ANNOTATION = r"(?:[ \t]*:[ \t]*[\w.\[\]|, ]{1,40}(?==))?"
_SIGN = rf"(?:\\?[\"'])?\]?{_ANNOTATION}[ \t]*[=:][ \t]*"
_QUOTED = re.compile(
    rf"(?P<before>{_START}{_NAME}{_SIGN}[rbfuRBFU]{{0,2}}(?P<quote>\\?[\"']))"
    r"(?P<value>(?:(?!(?P=quote))[^\n])+)(?=(?P=quote))"
)
_REST_OF_LINE = re.compile(
    rf"(?m)^(?P<before>[+ -]?[ \t]*(?:- |export[ \t]+)?[\"']?{_NAME}[\"']?[ \t]*[=:][ \t]*)"
    r"(?P<value>\S.*)$"
)
_UNQUOTED = re.compile(
    rf"(?P<before>{_START}{_NAME}[\"']?[ \t]*[=:][ \t]*(?:(?:Bearer|Basic)[ \t]+)?)"
    r"(?P<value>[^\s\"']\S*)"
)
_OPTION = re.compile(rf"(?P<before>(?<![\w.-])--{_NAME}(?:=|[ \t]+))(?P<value>[^\s-]\S*)")
_QUERY = re.compile(r"(?P<before>[?&](?P<name>[\w.-]{1,64})=)(?P<value>[^&\s\"'#]+)")
_USER_IN_URL = re.compile(  # a slash in the password is none of a path after a port
    r"(?<=://)(?:[^/\s\"']{1,1024}|[^/\s\"'@:]{1,256}:(?!\d{1,5}/)[^\s\"']{1,1024})@"
)
# What some services give out can be told by its looks.
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(?:gh[opsur]_\w{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}|hf_[A-Za-z0-9]{30,}"
    r"|sk-(?:proj-|ant-\w{1,10}-)?[A-Za-z0-9]{20,}|xox[abposr]-[\w-]{8,}|AKIA[A-Z0-9]{12,}"
    r"|AIza[\w-]{30,}|eyJ[\w-]{8,4096}\.[\w.-]{8,})"
    r"|(?<=hooks\.slack\.com/services/)[\w/]+"
    r"|(?<=PRIVATE KEY-----)[\s\S]{1,8192}?(?=-----END)"
)
_CODE = (
    *(".c", ".cc", ".cpp", ".cu", ".cuh", ".go", ".h", ".hpp", ".ipynb", ".java", ".js"),
    *(".py", ".pyi", ".rs", ".ts"),
)
_SIGNATURES = ("sig", "Signature", "X-Amz-Signature")  # of an address that opens a file
_NO_SECRETS = {_HIDDEN, "", "true", "false", "none", "null", "~", "yes", "no"}
_LONGEST_NAME = 200  # characters, at the end of which it says what it is of
_SHORTEST = 6  # characters: to leave out each "test" that a password is would leave no patch
_UNMISTAKABLE = 16  # from here on it is no word that happens to stand in a longer one


def redact(value: Json, environ: Mapping[str, str]) -> Json:
    """Leave out what looks like a secret.

    That is what stands under a name such as ``api_key`` (see :func:`sounds_secret`): in a ``dict``,
    after an option, in an assignment, in an address; the user and password in an address; what some
    services' tokens look like; and, wherever they occur as a whole word, the values of the
    variables of the environment with such names, from six characters on. In a patch of source
    code, what is assigned without quotes is another name and stays.

    >>> redact({"api_key": "abcd", "url": "https://me:pw@host/x", "cls_token": "mean"}, {})
    {'api_key': '<hidden>', 'url': 'https://<hidden>@host/x', 'cls_token': 'mean'}
    >>> redact(["train.py", "--hub-token", "abcd", "--lr=0.1 # hunter2"], {"PASSWORD": "hunter2"})
    ['train.py', '--hub-token', '<hidden>', '--lr=0.1 # <hidden>']
    """
    return _redact(value, _values(environ), "")


def sounds_secret(name: str) -> bool:
    """Whether a name, or the beginning of a dotted one, is that of a secret.

    >>> [sounds_secret(name) for name in ("hub.token", "storage.key", "dbPass", "api_key.old")]
    [True, True, True, True]
    >>> [sounds_secret(name) for name in ("token_mixer", "cls_token", "sort_key", "tokenizer")]
    [False, False, False, False]
    """
    parts = name[-_LONGEST_NAME:].split(".")
    return any(_is_secret(parts[: end + 1]) for end in range(len(parts)))


def _is_strong(name: str) -> bool:
    return any(_STRONG.search(re.sub(r"[\W_]", "", part).lower()) for part in name.split("."))


def _is_secret(parts: Sequence[str]) -> bool:
    if _is_strong(parts[-1]):
        return True
    words = [word.lower() for part in parts[-2:] for word in _WORD.findall(part)]
    if not words:
        return False
    last = words[-1]
    if last == "key":
        return not _KEY_OF.isdisjoint(words)
    return last in _LAST and (words[-2:-1] or [""])[0] not in _NOT_SECRET.get(last, ())


def _may_be_secret(name: str, value: Json) -> bool:
    """A name that could be one of a secret, over a text that looks like one."""
    if not isinstance(value, str) or not _RANDOM.search(value):
        return False
    return not {"token", "tokens", "key", "keys", "auth", "pass"}.isdisjoint(
        word.lower() for word in _WORD.findall(name)
    )


def _values(environ: Mapping[str, str]) -> list[re.Pattern[str]]:
    """What finds the secrets of the environment, the longest first: one may be part of another."""
    values = {
        value
        for name, value in environ.items()
        if name != "PWD" and (sounds_secret(name) or re.search(r"(?i)(^|_)key$", name))
    }
    lines = {line.strip() for value in values for line in value.splitlines()}
    long_enough = (text for text in values | lines if len(text) >= _SHORTEST)
    return [
        re.compile(re.escape(text) if len(text) >= _UNMISTAKABLE else _whole_word(text))
        for text in sorted(long_enough, key=lambda text: (-len(text), text))
    ]


def _whole_word(text: str) -> str:
    return rf"(?<!\w){re.escape(text)}(?!\w)"


def _redact(value: Json, secrets: Sequence[re.Pattern[str]], path: str) -> Json:
    match value:
        case str():
            return _redact_text(value, secrets)
        case list():
            after = [False, *(isinstance(v, str) and _takes_secret(v) for v in value)]
            return [
                _HIDDEN
                if follows and not str(item).startswith("-")
                else _redact(item, secrets, path)
                for follows, item in zip(after, value, strict=False)
            ]
        case dict():
            names = {key: f"{path}.{key}".lstrip(".") for key in value}
            beside = {n.rpartition(".")[0] for n in names.values() if sounds_secret(n)}
            hidden: dict[str, Any] = {}
            for key, item in value.items():
                folder, _, last = names[key].rpartition(".")
                hides = sounds_secret(names[key]) or (last == "key" and folder in beside)
                # A number under a weaker name is a size or a count, of tokens or of passes.
                numbers = isinstance(item, (int, float)) and not _is_strong(names[key])
                harmless = numbers or isinstance(item, bool | None)
                if (hides or _may_be_secret(key, item)) and not harmless:
                    item = _HIDDEN
                hidden[_redact_text(key, secrets)] = _redact(item, secrets, names[key])
            return hidden
        case _:
            return value


def _takes_secret(text: str) -> bool:
    """Whether the next argument is a secret."""
    return text.startswith("-") and "=" not in text and sounds_secret(text.lstrip("-"))


def _redact_text(text: str, secrets: Sequence[re.Pattern[str]]) -> str:
    for secret in secrets:
        text = secret.sub(_HIDDEN, text)
    text = _KNOWN.sub(_HIDDEN, text)
    text = _USER_IN_URL.sub(f"{_HIDDEN}@", text)
    text = _QUERY.sub(_assigned, text)
    pieces = re.split(r"(?m)^(?=diff --git )", text)
    return "".join(_redact_assignments(piece) for piece in pieces)


def _redact_assignments(text: str) -> str:
    """Of a text, or of a patch's part about one file."""
    text = _OPTION.sub(_assigned, _QUOTED.sub(_assigned, text))
    first = text.partition("\n")[0]
    if first.startswith("diff --git ") and first.rstrip('"').endswith(_CODE):
        return text
    return _UNQUOTED.sub(_assigned, _REST_OF_LINE.sub(_assigned, text))


def _assigned(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    bare = value.strip("\"'\\,;)}] ").lower()
    if bare in _NO_SECRETS or not (sounds_secret(name) or name in _SIGNATURES):
        return match[0]
    return f"{match['before']}{_HIDDEN}"
