"""Secrets in a text: assigned to a name, given after an option, or in a known format."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from .secret_names import is_random, is_strong, may_be_of_secret, sounds_secret
from .secret_phrases import TRIM, hide_phrases, is_harmless, replaced
from .secret_shapes import HIDDEN, hide_shapes

__all__ = ["hide_in_code", "hide_in_text", "is_plain_item"]

# Repetitions are bounded or anchored at the start: a patch may be a single line of a megabyte.
_NAMED = re.compile(
    r"(?<![\w.-])(?P<open>\\{0,8}[\"'`])?[.-]{0,2}(?P<name>[A-Za-z_][\w.-]*)"
    r"(?P<close>\\{0,8}[\"'`])?\]?[ \t]*(?P<sign>:=|\?=|\+=|=>|<-|={1,3}|!==?|:|%3[dD])[ \t]*"
)
_TYPE = re.compile(  # a type annotation before a value
    r"(?:Optional|Union|Final|ClassVar|Any|Secret\w{0,10}|String|string|str|bytes|list|dict|tuple)"
    r"(?:\[[\w.\[\]|, ]{0,60}\])?(?:[ \t]*\|[ \t]*[\w.\[\]]{1,40}){0,4}[ \t]*=(?!=)[ \t]*"
)
_QUOTE = re.compile(r"[rbfuRBFU]{0,2}(?P<quote>(?P<slash>\\{0,8})(?:\"\"\"|'''|[\"'`]))")
_MORE = re.compile(r"[ \t]*(?:\\?\n[+ -]?[ \t]*)?(?=[rbfuRBFU]{0,2}[\"'])")
_SCHEME = r"(?:(?:Bearer|Basic|Token|Digest|Negotiate|ApiKey|AWS4-HMAC-SHA256)[ \t]+)?"
_WORD = re.compile(rf"{_SCHEME}(?:[^\s\"'`]|[\"'`](?![\s,;:)}}\]]|$))+")
_NEXT = re.compile(r"[;,](?=$|[ \t]*[\w.-]{1,64}[=:])|[&#](?=[\w.-]{1,64}=)|&$")
_TO_END = re.compile(r"[^\n]*")
_TO_MARK = {quote: re.compile(rf"(?:[^\n\\{quote}]|\\.)*") for quote in "\"'`"}
_TO_QUOTE = {quote: re.compile(rf"[^\n{quote}]*") for quote in "\"'`"}
_LINE_START = re.compile(
    r"[+ -]?[ \t]*(?:-[ \t]+)?(?:(?:export|set|setenv|ENV|ARG|let|readonly|declare)[ \t]+)?"
    r"[\"']?"
)
_SCALAR = re.compile(r"[|>][+-]?\d?[+-]?[ \t]*(?:#[^\n]*)?(?=\n|$)")
_BEFORE = re.compile(r"([A-Za-z]{2,20})[ _-]([A-Za-z]{2,20}[ _-])?\Z")
_LITERAL = re.compile(
    r"(?P<quote>\\?[\"'])(?P<value>(?:(?!(?P=quote))[^\n\\]|\\.){1,2048})(?P=quote)(?P<behind>\s*[:\]])?"
)
_HEADERS = re.compile(r"(?i)(?:.*-)?(?:authorization|cookie)")
_SIGNATURES = {"sig", "signature", "x-amz-signature", "x-goog-signature", "x-amz-credential"}
_SIGNATURES |= {"x-goog-credential", "awsaccesskeyid", "hmac", "ticket", "sid"}
_NAMED_TOGETHER = {"key", "keys", "string", "code", "codes", "phrase", "id"}
_LONGEST_LIST = 4096  # characters

_BASE64 = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{16,8192}={0,2}(?![\w+/=-])")
_DATA = re.compile(r"(?m)^[+ -]?[ \t]*(?P<data>data|stringData):[ \t\r]*$")
_BLOCK_LINE = re.compile(
    r"(?P<before>[+ -]?[ \t]*(?:-[ \t]+)?(?:[\"']?(?P<name>[\w./-]+)[\"']?:(?:[ \t]+|$))?)"
    r"(?P<value>.*)"
)
_URL_SAFE = str.maketrans("-_", "+/")
_USER_AND_PASSWORD = re.compile(r"[\w.@+-]{1,64}:[^\s:]{4,256}")


def hide_in_text(text: str) -> str:
    """Any text, including configuration files, without anything that looks like a secret."""
    text = hide_phrases(_hide_encoded(hide_shapes(text)))
    return _hide_named(_hide_data(text), code=False)


def hide_in_code(text: str) -> str:
    """Source code without secrets: only quoted text counts as a value."""
    return _hide_named(hide_phrases(hide_shapes(text)), code=True)


def _hide_named(text: str, *, code: bool) -> str:
    seen = _Seen()

    def value_after(found: re.Match[str]) -> tuple[int, int, str] | None:
        if _is_of_secret(text, found):
            return _value(text, found, seen, code=code)
        if not may_be_of_secret(found["name"]):
            return None
        near = text[found.end() : found.end() + 256]
        quote = _QUOTE.match(near)
        word = _word_at(near, quote.end() if quote else 0)
        if (code and not quote) or not is_random(word):
            return None
        start = found.end() + (quote.end() if quote else 0)
        end = start + len(_word_at(text, start))
        return start, end, HIDDEN

    return replaced(text, _NAMED, value_after)


def _is_of_secret(text: str, found: re.Match[str]) -> bool:
    name, start = found["name"], found.start("name")
    if sounds_secret(name):
        return True
    if name.lower() in _SIGNATURES:
        return text[start - 1 : start] in ("?", "&", "#", ";")
    if name.lower() in _NAMED_TOGETHER:
        before = _BEFORE.search(text[max(0, start - 48) : start])
        return before is not None and sounds_secret(f"{before[0]}{name}".replace(" ", "_"))
    return False


class _Seen:
    """How far the text was searched for quoted strings in vain, so no part is searched twice."""

    def __init__(self) -> None:
        self._until: dict[bool, int] = {}

    def hidden(
        self, text: str, at: int, end: int, hide: Callable[[re.Match[str]], str], *, strong: bool
    ) -> str | None:
        """The range ``at`` to ``end`` with its quoted secrets hidden; None if it has none."""
        start = max(at, min(end, self._until.get(strong, 0)))
        hidden = _LITERAL.sub(hide, text[start:end])
        if hidden == text[start:end]:
            self._until[strong] = end
            return None
        return text[at:start] + hidden


def _value(
    text: str, found: re.Match[str], seen: _Seen, *, code: bool
) -> tuple[int, int, str] | None:
    """Start and end of the value and its replacement; None if it stays."""
    at, strong = found.end(), is_strong(found["name"])
    if found["sign"] == ":" and (annotation := _TYPE.match(text, at)):
        at = annotation.end()
    if quote := _QUOTE.match(text, at):
        return _quoted(text, quote)
    if text[at : at + 1] in ("[", "(", "{"):
        return _in_brackets(text, at, seen, strong=strong, code=code)
    if code or found["sign"] in ("==", "===", "!=", "!=="):
        end = _end(_TO_END, text, at)
        hidden = seen.hidden(text, at, end, _literal, strong=True)
        return None if hidden is None else (at, end, hidden)
    if at == len(text) or text[at] in "\r\n" or _SCALAR.match(text, at):
        return _in_block(text, found, at)
    end = _end_of_bare(text, found, at)
    value = text[at:end]
    number = not strong and re.fullmatch(r"[\d.,;)}\]]{1,8}", value)
    return None if number or is_harmless(value) else (at, end, HIDDEN)


def _quoted(text: str, quote: re.Match[str]) -> tuple[int, int, str] | None:
    start = quote.end()
    end = _end_of_quote(text, quote)
    if is_harmless(text[start:end]):
        return None
    hidden = HIDDEN
    while (
        (more := _MORE.match(text, end + len(quote["quote"])))
        and (following := _QUOTE.match(text, more.end()))
        and not following["slash"]
        and text[end : end + 1] == quote["quote"][-1]
    ):
        hidden += text[end : following.end()] + HIDDEN
        quote, end = following, _end_of_quote(text, following)
        if text[end + 1 : end + 2] == ":":
            break
    return start, end, hidden


def _end_of_quote(text: str, quote: re.Match[str]) -> int:
    """End before the closing quote on this or one of the next lines, otherwise the end of line."""
    mark, start = quote["quote"], quote.end()
    line = _end(_TO_END, text, start)
    if len(mark) == 1:
        end = _end(_TO_MARK[mark], text, start)
        if text[end : end + 1] == mark:
            return end
    elif len(mark) < 4 and not quote["slash"]:
        end = text.find(mark, start, start + 65536)
        return line if end < 0 else end
    else:
        end = text.find(mark, start, line)
        return line if end < 0 else end
    end = text.find(mark, start, start + 8192)
    return line if end < 0 else end


def _in_brackets(
    text: str, at: int, seen: _Seen, *, strong: bool, code: bool
) -> tuple[int, int, str] | None:
    """Quoted strings in a list, call or dict; bare words in a list of a configuration file."""
    closing = {"[": "]", "(": ")", "{": "}"}[text[at]]
    end = text.find(closing, at, at + _LONGEST_LIST)
    closed = end >= 0
    end = end if closed else min(len(text), at + _LONGEST_LIST)
    hidden = seen.hidden(text, at + 1, end, lambda item: _item(item, strong=strong), strong=strong)
    if hidden is None and closed and text[at] == "[" and not code:
        words = [word.strip() for word in text[at + 1 : end].split(",")]
        if any(mark in word for word in words for mark in "\"'[="):
            return None
        items = [word if is_plain_item(word, strong=strong) else HIDDEN for word in words]
        hidden = None if items == words else ", ".join(items)
    return None if hidden is None else (at + 1, end, hidden)


def _item(found: re.Match[str], *, strong: bool) -> str:
    is_key = (found["behind"] or "").endswith(":")
    if is_key or is_plain_item(found["value"], strong=strong):
        return found[0]
    return f"{found['quote']}{HIDDEN}{found['quote']}{found['behind'] or ''}"


def is_plain_item(text: str, *, strong: bool) -> bool:
    """Whether an item of a list with a secret's name reads as a word, placeholder or number."""
    if strong:
        return is_harmless(text)
    if re.fullmatch(r"[<\[].*[>\]]|[\d.\s-]*", text, re.S):
        return True
    return len(text) < 8 and not any(map(str.isdigit, text))


def _literal(found: re.Match[str]) -> str:
    """Hide a literal in an expression, unless it is a short word or name, probably a lookup key."""
    value = found["value"]
    is_name = re.fullmatch(r"[A-Z][A-Z0-9_]*|[A-Za-z_]*|.*\s.*", value)
    if found["behind"] or is_name or len(value) < 8 or is_harmless(value):
        return found[0]
    return found["quote"] + HIDDEN + found["quote"]


def _in_block(text: str, found: re.Match[str], at: int) -> tuple[int, int, str] | None:
    """The indented lines, or the list, below a name."""
    if found["sign"] != ":":
        return None
    line = _line_before(text, found.start())
    start = _end(_TO_END, text, at)
    end, hidden = _hidden_block(text, start, _indent(line + found[0]), lambda name, value: True)
    return None if end == start else (start, end, hidden)


def _hidden_block(
    text: str, start: int, indent: int, hides: Callable[[str, str], bool]
) -> tuple[int, str]:
    """The end of a block of lines indented deeper than ``indent``, and its replacement."""
    lines: list[str] = []
    end = start
    while len(lines) < 1000 and text[end : end + 1] == "\n":
        stop = _end(_TO_END, text, end + 1)
        line = text[end + 1 : stop]
        inside = _indent(line) > indent or (
            _indent(line) == indent and line[1:].lstrip().startswith("- ")
        )
        if line.strip(" \t+-\r") and not inside:
            break
        parts = _BLOCK_LINE.fullmatch(line)
        if parts and parts["value"] and hides(parts["name"] or "", parts["value"]):
            line = f"{parts['before']}{HIDDEN}"
        lines.append(line)
        end = stop
    return end, "".join(f"\n{line}" for line in lines)


def _indent(line: str) -> int:
    line = f" {line[1:]}" if line[:1] in ("+", "-") else line
    return len(line) - len(line.lstrip(" \t"))


def _line_before(text: str, at: int) -> str:
    """The text before ``at`` on the same line, if it is short."""
    start = text.rfind("\n", max(0, at - 120), at) + 1
    return text[start:at] if start or at <= 120 else "..."


def _end_of_bare(text: str, found: re.Match[str], at: int) -> int:
    """The end of an unquoted value."""
    opened = (found["open"] or "")[-1:]
    if opened and not found["close"]:
        return _end(_TO_QUOTE[opened], text, at)
    if _HEADERS.fullmatch(found["name"]) and found["sign"] == ":":
        return _end(_TO_END, text, at)
    if _LINE_START.fullmatch(_line_before(text, found.start())):
        end = _end(_TO_END, text, at)
        return at + len(text[at:end].rstrip())
    return at + len(_word_at(text, at))


def _word_at(text: str, at: int) -> str:
    """The word at ``at``, up to a space or the next assignment in a list."""
    found = _WORD.match(text, at)
    if found is None:
        return ""
    cut = _NEXT.search(found[0])
    return found[0][: cut.start()] if cut else found[0]


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


# -- encoded values, and values with arbitrary names -----------------------------------------------


def _hide_data(text: str) -> str:
    """Hide the data of a Kubernetes secret: plain or base64 text with arbitrary names."""
    is_secret = "kind: Secret" in text

    def value_after(found: re.Match[str]) -> tuple[int, int, str] | None:
        hides = is_secret or found["data"] == "stringData"
        end, hidden = _hidden_block(
            text,
            found.end(),
            _indent(found[0].strip("\n").replace(found["data"], "x")),
            lambda name, value: bool(name) and (hides or _decoded(value) is not None),
        )
        return None if end == found.end() else (found.end(), end, hidden)

    return replaced(text, _DATA, value_after)


def _hide_encoded(text: str) -> str:
    return _BASE64.sub(_if_secret_inside, text)


def _if_secret_inside(found: re.Match[str]) -> str:
    inside = _decoded(found[0])
    if inside is None:
        return found[0]
    if _USER_AND_PASSWORD.fullmatch(inside):
        return HIDDEN
    hidden = _hide_named(hide_phrases(hide_shapes(inside)), code=False)
    return HIDDEN if hidden != inside else found[0]


def _decoded(value: str) -> str | None:
    """The text encoded in base64; None if the value is not base64 of text."""
    value = value.strip(TRIM).translate(_URL_SAFE)
    if len(value) < 8:
        return None
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return decoded if decoded.replace("\n", "").replace("\t", "").isprintable() else None
