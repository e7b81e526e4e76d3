"""Secrets in a text that are named but not assigned: options, calls, sentences, known files."""

from __future__ import annotations

import re
from collections.abc import Callable

from .secret_names import sounds_secret
from .secret_shapes import HIDDEN

__all__ = ["TRIM", "hide_phrases", "is_harmless", "replaced"]

_NO_SECRETS = {
    *(HIDDEN, "", "true", "false", "none", "null", "~", "yes", "no", "undefined", "nil", "..."),
    *("str", "string", "bytes", "int", "float", "bool", "any", "object", "optional[str]"),
    *("str | none", "secretstr", "required", "optional"),
}
_REFERENCE = re.compile(r"\$\{?[A-Z_][A-Z0-9_]*\}?|%[A-Z_]+%|\$?\{\{.*\}\}|\*{3,}|x{3,}", re.I)
TRIM = "\"'\\,;)}]>` "

_VALUE = r"[^\s\"'`]+"
_OPTION = re.compile(r"(?<![\w.-])--?(?P<name>[A-Za-z][\w.-]*)(?:=|[ \t]+)")
_ARGUMENT = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|[^\s\"'=:-][^\s\"']*")
_VALUES = re.compile(
    rf"(?P<value>{_ARGUMENT.pattern})(?P<more>(?:[ \t]+(?:{_ARGUMENT.pattern})){{0,16}})"
)
_XML = re.compile(
    r"(?P<before><(?P<name>[A-Za-z][\w.:-]{0,80})(?:\s[^<>]{0,200})?>)"
    r"(?P<value>[^<>]{1,4096})(?=</)"
)
_XML_VALUE = re.compile(
    r"(?P<before><(?P<name>[A-Za-z][\w.:-]{0,80})\s[^<>]{0,200}?\bvalue=)(?P<value>\"[^\"]*\"|'[^']*')"
)
_PAIR = re.compile(
    r"(?P<before>\b(?:name|key|variable|var|field|header|param|id)\\?[\"']?[ \t]*[:=][ \t]*"
    r"\\?[\"']?"
    r"(?P<name>[A-Za-z_][\w.-]{0,80})\\?[\"']?[\s,+-]{1,80}\\?[\"']?(?:value|val|default|content)"
    r"\\?[\"']?[ \t]*[:=][ \t]*)(?P<value>\\?\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',}]+)",
    re.I,
)
_SET = re.compile(
    r"(?P<before>(?:\b(?:setenv|ENV|ARG|setx?|add|put|export)|%(?:set_)?env)[ \t]+"
    r"(?P<name>[A-Za-z_][\w.-]{0,80})[ \t=]+)"
    rf"(?P<value>\"[^\"\n]*\"|'[^'\n]*'|{_VALUE})"
)
_CALLED = re.compile(
    r"(?P<before>(?<![A-Za-z0-9])(?:set|with|use|add)?_?(?P<name>[A-Za-z_]\w{0,80})\([ \t]*)"
    r"(?P<value>\"[^\"\n]+\"|'[^'\n]+')"
)
_SAID = re.compile(
    r"(?P<before>\b(?P<name>\w{0,40}"
    r"(?:password|passwd|passphrase|passcode|secret|token|api[ _-]?key))"
    rf"[ \t]+(?:is|was|be|to)[ \t]+[:]?[ \t]*|\b(?:IDENTIFIED[ \t]+BY|PASSWORD)[ \t]+(?=[\"']))"
    rf"(?P<value>\"[^\"\n]+\"|'[^'\n]+'|(?=[^\s\d]{{0,64}}\d){_VALUE})",
    re.I,
)
_BESIDE = re.compile(  # a quoted value that contains a digit
    r"(?P<before>\b(?P<name>[A-Za-z_][\w-]{2,80})[ \t]+)"
    r"(?P<value>(?P<quote>[\"'])(?=[^\s\d\"']{0,64}\d)[^\s\"']{4,256}(?P=quote))"
)
_ARGUMENT_DEFAULT = re.compile(  # of argparse, click and typer
    r"(?P<before>[\"']--?(?P<name>[A-Za-z][\w-]{0,80})[\"'][^\n]{0,200}?\bdefault[ \t]*=[ \t]*)"
    r"(?P<value>\"[^\"\n]*\"|'[^'\n]*')"
)
_STORED = re.compile(  # by the command lines of GitHub, Kubernetes, Weights & Biases
    r"(?P<before>\bsecret[ \t]+(?:set|create|generic)\b[^\n]{0,200}?"
    r"(?:--body|-b|--from-literal)[= ](?:[\w.-]{1,64}=)?"
    r"|\blogin[ \t]+(?:--relogin[ \t]+)?(?=[\w-]{20})(?=[A-Za-z_-]{0,64}\d)"
    r"|\bapi[ _-]?key[ \t]+(?=[^\s\d:=]{0,64}\d))(?P<value>[^\s\"'`]+)",
    re.I,
)
_NETRC = re.compile(
    r"(?P<before>\b(?:login|user|account)[ \t]+\S{1,256}\s[+ -]{0,8}\s{0,8}"
    r"(?:password|passwd)[ \t]+|(?m:^)[+ -]?[ \t]{0,16}(?:password|passwd)[ \t]+)"
    r"(?P<value>(?!(?::=|=>|<-|={1,3}|[!:(])(?:\s|$))\S+)"
)
_PGPASS = re.compile(
    r"(?m)^(?P<before>[+ -]?[^\s:#]{1,253}:(?:\d{4,5}|\*):[^\s:]{1,128}:[^\s:]{1,128}:)"
    r"(?P<value>\S+)(?=[ \t\r]*$)"
)
_LOGIN = re.compile(  # user:password after an option
    r"(?P<before>(?<![\w-])(?:-u|--user|--proxy-user|-U|--creds?|--auth)[= \t]+"
    r"[\"']?[\w.@+-]{1,128}:)"
    rf"(?P<value>{_VALUE})"
)
_SHORT_OPTION = re.compile(  # of programs that take a password by it
    r"(?P<before>\b(?:sshpass|mysql\w{0,10}|mariadb|docker[ \t]+login|redis-cli|mongo\w{0,6}"
    r"|ldap\w{0,10}|az[ \t]+login|smbclient|7z|zip|unzip)\b[^\n|;&]{0,200}?[ \t]-(?:p|a|w|P)[ \t]?)"
    r"(?P<value>(?<=[ \t]-[pawP])[^\s\"'-]\S*|(?<=[pawP][ \t])[^\s-]\S*)"
)
_BEARER = re.compile(
    r"(?P<before>\b(?:Bearer|Basic|Token|ApiKey)[ \t]+)"
    r"(?P<value>(?=[A-Za-z._~+/=-]{0,512}\d)[\w.~+/=-]{8,}|[\w.~+/=-]{20,})"
)
_ESCAPED_QUERY = re.compile(
    r"(?P<before>%(?:3F|26|23)(?P<name>[\w.-]{1,64})%3D)(?P<value>(?:[^\s\"'&%]|%(?!26|23))+)", re.I
)


def hide_phrases(text: str) -> str:
    """The text without the values that follow such names, and without passwords after users."""
    text = _hide_options(text)
    for form in (
        _XML,
        _XML_VALUE,
        _PAIR,
        _SET,
        _CALLED,
        _SAID,
        _BESIDE,
        _ARGUMENT_DEFAULT,
        _ESCAPED_QUERY,
    ):
        text = form.sub(_if_secret, text)
    for form in (_STORED, _NETRC, _PGPASS, _LOGIN, _SHORT_OPTION, _BEARER):
        text = form.sub(_value_hidden, text)
    return text


def _hide_options(text: str) -> str:
    def value_after(found: re.Match[str]) -> tuple[int, int, str] | None:
        value = _VALUES.match(text, found.end())
        if value is None or not sounds_secret(found["name"]) or is_harmless(value["value"]):
            return None
        others = _ARGUMENT.sub(lambda other: _hidden_word(other[0]), value["more"])
        return *value.span(), _hidden(value["value"]) + others

    return replaced(text, _OPTION, value_after)


def _hidden_word(word: str) -> str:
    """A further argument of an option, hidden unless it reads as a word or a path."""
    is_word = not any(map(str.isdigit, word)) and len(word) < 16
    return word if is_word or "=" in word or "://" in word or "." in word else HIDDEN


def replaced(
    text: str,
    before: re.Pattern[str],
    value_after: Callable[[re.Match[str]], tuple[int, int, str] | None],
) -> str:
    """Replace the values after each match; a value that stays is itself searched."""
    pieces, done, at = [], 0, 0
    while found := before.search(text, at):
        at = found.end()
        if value := value_after(found):
            start, at, new = value
            pieces += [text[done:start], new]
            done = at
    return "".join([*pieces, text[done:]])


def _if_secret(found: re.Match[str]) -> str:
    name = found["name"]
    if (name and not sounds_secret(name)) or is_harmless(found["value"]):
        return found[0]
    return found["before"] + _hidden(found["value"])


def _value_hidden(found: re.Match[str]) -> str:
    if is_harmless(found["value"]):
        return found[0]
    return found["before"] + HIDDEN


def _hidden(value: str) -> str:
    quote = value[:1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else ""
    return quote + HIDDEN + quote


def is_harmless(value: str) -> bool:
    """Whether a value cannot be secret: a constant, a type, or a reference to a variable."""
    bare = value.strip(TRIM) if len(value) < 200 else value
    return bare.lower() in _NO_SECRETS or (len(bare) < 200 and bool(_REFERENCE.fullmatch(bare)))
