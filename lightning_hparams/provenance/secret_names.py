"""Recognise names of secrets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

__all__ = ["is_random", "is_strong", "may_be_of_secret", "sounds_secret"]

# Decisive anywhere in a name, ignoring separators.
_STRONG = re.compile(
    r"secret|password|passwd|passphrase|passcode|credential|authorization|bearer|webhook"
    r"|connectionstring|connstr|mnemonic|seedphrase|recoverycode|backupcode|sess(?:ion)?id"
    r"|(?:api|access|private|account|storage|encryption|signing|licen[cs]e|deploy|subscription"
    r"|client|host|master|preshared|shared|service|server|consumer|instrumentation|ssh|function)"
    r"keys?(?!word|point|board|frame|stone)"
    r"|(?:api|hub|access|auth|refresh|bot|id|session)tokens?(?!iz)"
)
# Short words that are decisive as the last word, even if the value is a number.
_STRONG_LAST = {"cred", "creds", "cvv", "otp", "pin", "psk", "pw", "pwd", "pword", "totp"}
# Words that are decisive as the last word, unless the word before it rules it out.
_LAST = {
    *("auth", "cookie", "cookies", "csrf", "dsn", "hmac", "jwt", "jwts", "pass", "pat", "pats"),
    *("pem", "sas", "token", "tokens", "xsrf"),
}
_NOT_SECRET = {
    "token": (  # of a transformer or a tokenizer
        *("added", "additional", "all", "bad", "bos", "class", "cls", "completion", "context"),
        *("decoder", "dist", "distill", "distillation", "empty", "encoder", "end", "eos", "extra"),
        *("global", "go", "image", "img", "input", "label", "learnable", "learned", "mask"),
        *("masked", "max", "mean", "memory", "min", "n", "new", "next", "num", "object", "out"),
        *("output", "pad", "patch", "per", "pool", "pos", "prefix", "prompt", "query", "reg"),
        *("register", "sep", "sos", "source", "special", "start", "stop", "summary", "target"),
        *("text", "total", "train", "unk", "unused", "visual", "vocab", "word"),
    ),
    "pass": (
        *("all", "backward", "band", "first", "forward", "high", "low", "multi", "second"),
        *("single", "two"),
    ),
}
_NOT_SECRET["tokens"] = _NOT_SECRET["token"]
# A "key" is secret after such a word; alone, it is mostly a dictionary key.
_KEY_OF = {
    *("access", "account", "admin", "aes", "anthropic", "api", "app", "application", "auth"),
    *("aws", "azure", "bot", "cipher", "client", "cohere", "comet", "crypt", "crypto", "deploy"),
    *("encryption", "fernet", "functions", "gcp", "google", "gpg", "hmac", "host", "jwt"),
    *("license", "master", "mistral", "neptune", "openai", "pgp", "private", "rsa", "s3"),
    *("secret", "sendgrid", "server", "service", "session", "shared", "signing", "ssh", "ssl"),
    *("storage", "stripe", "tls", "wandb", "write"),
}
# Suffixes that may follow: the owner, the environment or the encoding.
_BEHIND = {
    *("base64", "b64", "backup", "current", "data", "dev", "hex", "live", "local", "new", "old"),
    *("plain", "primary", "prod", "production", "raw", "secondary", "staging", "str", "string"),
    *("test", "text", "val", "value", "values"),
}
_MAY_BE = {
    "auth",
    "code",
    "hmac",
    "key",
    "keys",
    "pass",
    "pat",
    "sig",
    "signature",
    "token",
    "tokens",
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_RANDOM = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]{0,99}\d)(?=\d{0,99}[A-Za-z])[A-Za-z0-9]{16,}")
_LONGEST_NAME = 200  # characters, counted from the end, which is the part that matters


@lru_cache(4096)
def sounds_secret(name: str) -> bool:
    """Whether a name, or any prefix of a dotted one, denotes a secret.

    >>> [sounds_secret(name) for name in ("hub.token", "storage.key", "dbPass", "api_key.old")]
    [True, True, True, True]
    >>> [sounds_secret(name) for name in ("token_mixer", "cls_token", "sort_key", "tokenizer")]
    [False, False, False, False]
    """
    parts = name[-_LONGEST_NAME:].split(".")
    return any(_is_secret(parts[: end + 1]) for end in range(len(parts)))


@lru_cache(4096)
def is_strong(name: str) -> bool:
    """Whether even a number with this name is secret; with a weaker name it is a size or count."""
    return any(_is_strong(part) for part in name[-_LONGEST_NAME:].split("."))


@lru_cache(4096)
def may_be_of_secret(name: str) -> bool:
    """Whether a name may denote a secret, if the value looks like one (:func:`is_random`)."""
    return not _MAY_BE.isdisjoint(_words(name[-_LONGEST_NAME:]))


def is_random(text: str) -> bool:
    """Whether a text contains a long word that mixes letters and digits."""
    return _RANDOM.search(text) is not None


def _is_strong(part: str) -> bool:
    if _STRONG.search(re.sub(r"[\W_]", "", part).lower()):
        return True
    words = _without_ending(_words(part))
    return bool(words) and words[-1] in _STRONG_LAST


def _is_secret(parts: Sequence[str]) -> bool:
    if _is_strong(parts[-1]):
        return True
    words = _without_ending([word for part in parts[-2:] for word in _words(part)])
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in ("key", "keys"):
        return not _KEY_OF.isdisjoint(words) and not {"public", "pub"} & {*words}
    if last == "pat" and not before:
        return False  # mostly short for pattern
    return last in _LAST and before not in _NOT_SECRET.get(last, ())


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _without_ending(words: Sequence[str]) -> Sequence[str]:
    end = len(words)
    while end > 1 and (words[end - 1] in _BEHIND or words[end - 1].isdigit()):
        end -= 1
    return words[:end]
