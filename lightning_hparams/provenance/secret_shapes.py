"""Secrets recognised by their format: keys of services, key blocks, password hashes.

Services publish these formats so that scanners can find leaked keys.
"""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "hide_shapes"]

HIDDEN = "<hidden>"

# The prefix, and the minimum length of the rest.
_PREFIXES = (
    r"gh[opsur]_\w{8,}|github_pat_\w{8,}",
    r"gl(?:pat|dt|ft|soat|rt|rtr|cbt|imt|ptt|agent|ffct)-[\w.-]{8,}|gloas-[\w-]{20,}",
    r"GR1348941[\w-]{16,}",
    r"(?:hf|api_org)_[A-Za-z0-9]{30,}",
    r"sk-(?:proj|ant|svcacct|admin|or|lf|None)-[\w-]{8,}|sk-[A-Za-z0-9]{20,}",
    r"(?:sk|rk|pk)_(?:live|test|prod)_\w{8,}|whsec_[\w+/=]{16,}",
    r"xox[a-z](?:\.xox[a-z])?-[\w-]{8,}|xapp-\d-[\w-]{8,}|xwfp-[\w-]{8,}",
    r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{12,}|ABSK[A-Za-z0-9+/]{60,}={0,2}",
    r"AIza[\w-]{30,}|ya29\.[\w.-]{16,}|GOCSPX-[\w-]{16,}|1//0[\w-]{20,}",
    r"npm_[A-Za-z0-9]{16,}|pypi-Ag[\w-]{12,}|rubygems_[a-f0-9]{30,}|dckr_[po]at_[\w-]{16,}",
    r"SG\.[\w-]{12,}\.[\w-]{12,}|xkeysib-[a-f0-9]{32,}[\w-]*|key-[a-f0-9]{32}|EZ[AT]K[\w]{40,}",
    r"do[opr]_v1_[a-f0-9]{32,}|dapi[a-f0-9]{32}(?:-\d)?|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}",
    r"sq0[a-z]{3}-[\w-]{20,}|EAA[AC][\w-]{30,}|AT(?:ATT3|CTT3|BB)[\w=-]{16,}",
    r"hv[sbr]\.[\w-]{16,}|[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,}|pul-[a-f0-9]{40}",
    r"HRKU-[\w-]{20,}|lin_(?:api|oauth)_\w{20,}|(?:ntn|secret)_[A-Za-z0-9]{32,}|figd_[\w-]{20,}",
    r"PMAK-[a-f0-9]{24}-[a-f0-9]{20,}|NRAK-[A-Z0-9]{20,}|gl(?:sa|c)_[\w+/=-]{20,}",
    r"sntry[su]_[\w+/=-]{20,}|pscale_(?:tkn|pw|oauth)_[\w=.-]{20,}|sb(?:p|_secret)_[\w-]{20,}",
    r"(?:r8|gsk|fw|pplx|xai|nvapi|tgp_v1|wandb_v1|lsv2_[sp]t|ltok|pnu|rnd|vc[a-z]|co)"
    r"[_-][A-Za-z0-9][\w-]{22,}",
    r"AGE-SECRET-KEY-1[A-Z0-9]{20,}|LTAI[A-Za-z0-9]{12,}|AKID[A-Za-z0-9]{13,}|AQVN[\w-]{35,}",
    r"y[0-3]_[\w-]{30,}|dp\.(?:pt|st|sa|ct)\.[\w.]{30,}|dt0[a-z]\d\d\.[A-Z0-9]{20,}\.[A-Z0-9]{20,}",
    r"pat[A-Za-z0-9]{14}\.[a-f0-9]{40,}|SK[a-f0-9]{32}|[a-f0-9]{32}-us\d{1,2}|oy2[a-z0-9]{43}",
    r"[\w~.]{3}[78]Q~[\w~.-]{30,}|[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,}|\d{8,10}:AA[\w-]{32,}",
    r"eyJ[\w-]{8,4096}\.[\w.-]{8,}|eyJ[A-Za-z0-9+/_-]{30,}={0,2}",
    r"FlyV1[ ]fm\d_[\w+/=,-]{20,}|fo1_[\w-]{30,}|CFPAT-[\w-]{30,}|tfp_[\w-]{30,}",
)
_KNOWN = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_PREFIXES)})")
# 64 bytes in base64, such as Azure's keys; after "sha512-" it is the digest of a package.
_LONG_KEY = re.compile(r"(?<![A-Za-z0-9+/-])[A-Za-z0-9+/]{86}==(?![A-Za-z0-9+/=])")
# Keys of other services in the same format: a short prefix and many random letters.
_OTHER = re.compile(
    r"(?<![A-Za-z0-9])[a-z][a-z0-9]{1,9}(?:_[a-z0-9]{1,8})?[_-]([A-Za-z0-9]{22,128})"
)
_HOOK = re.compile(
    r"(?<=://)(?P<before>[\w.:@-]{1,200}/(?:[\w.-]{1,80}/){0,6}?)"
    r"(?P<hook>(?:web)?hooks?(?:b2)?|services|workflows|triggers|incoming|IncomingWebhook)/"
    r"(?P<rest>[^\s\"'<>]{8,2048})"
)
_HOOK_PATH = re.compile(r"(?:web)?hooks?(?:b2)?|incoming|IncomingWebhook")
_HOOK_HOST = re.compile(r"^hooks?\.|\.webhook\.|^discord|^outlook\.office")
_BOT = re.compile(r"(?<=api\.telegram\.org/bot)[\w:-]{8,}|(?<=/with/key/)[\w-]{8,}")
_HASH = re.compile(
    r"\$(?:apr1|1|2[abxy]|5|6|y|argon2\w{1,2}|pbkdf2[\w-]{0,10}|scrypt)\$[^\s\"':]{8,}"
)
_USER_IN_URL = re.compile(  # a slash in the password is not the start of a path after a port
    r"(?<=://)(?:[^/\s\"']{1,1024}|[^/\s\"'@:]{1,256}:(?!\d{1,5}/)[^\s\"']{1,1024})@"
)
_USER_BEFORE_HOST = re.compile(  # without a scheme
    r"(?P<before>(?<![\w.+/:@-])[\w.+-]{1,64}:)[^\s@/\"':]{3,256}"
    r"(?=@(?:localhost|[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}|[\w-]{1,63}(?=:\d))(?![\w(]))"
)
# Markers of the first line and of the end of a private key.
_BLOCKS = (
    (
        r"-----? ?BEGIN [A-Z0-9 ]{0,40}(?:PRIVATE KEY|Static key V1)(?: BLOCK)?-{0,2} ?-{3,5}",
        r"-----? ?END",
    ),
    (r"Private-Lines: \d{1,6}", r"(?<=Private-MAC: )[0-9a-f]*|(?<=Private-Hash: )[0-9a-f]*"),
)
_LONGEST_KEY = 2**16  # characters
_BODY = re.compile(  # of a key without its end
    rf"(?:{HIDDEN})?(?:[A-Za-z0-9+/=]|\\[nr])*[\"']?[ \t\r]*(?:\n|$)"
    r"(?:[+ -]?[ \t]*[\"']?(?:[A-Za-z0-9+/=]*|[A-Za-z-]{1,20}: [^\n]*)"
    r"(?:\\n)?[\"']?,?[ \t\r]*(?:\n|$))*"
)
# Lines of a long base64 key without its start, as in the middle of a patch.
_LINES = re.compile(
    r"(?m)^(?P<before>[+ -]?[ \t]{0,40}[\"']?)[A-Za-z0-9+/]{60,76}={0,2}"
    r"(?=(?:\\n)?[\"']?,?[ \t\r]*$)"
)
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")


def hide_shapes(text: str) -> str:
    """The text without secrets that are recognisable by their format alone."""
    for begin, end in _BLOCKS:
        text = _hide_blocks(text, re.compile(begin), re.compile(end))
    text = _LINES.sub(_line, text)
    text = _HOOK.sub(_hook, text)
    text = _BOT.sub(HIDDEN, text)
    text = _KNOWN.sub(HIDDEN, text)
    text = _LONG_KEY.sub(HIDDEN, text)
    text = _OTHER.sub(_other, text)
    text = _HASH.sub(HIDDEN, text)
    text = _USER_IN_URL.sub(f"{HIDDEN}@", text)
    return _USER_BEFORE_HOST.sub(lambda found: found["before"] + HIDDEN, text)


def _hide_blocks(text: str, begin: re.Pattern[str], end: re.Pattern[str]) -> str:
    """Hide everything between two markers; in a truncated block, the lines that look like a key."""
    pieces, start, ended = [], 0, False
    while found := begin.search(text, start):
        last = None if ended else end.search(text, found.end())
        ended = last is None  # and is not searched for again
        if last is not None and last.start() - found.end() <= _LONGEST_KEY:
            stop = last.end() if last[0][:1].isalnum() else last.start()
        else:
            body = _BODY.match(text, found.end())
            stop = body.end() if body else found.end()
        pieces += [text[start : found.end()], HIDDEN]
        start = stop
    return "".join([*pieces, text[start:]])


def _line(found: re.Match[str]) -> str:
    value = found[0][len(found["before"]) :]
    mixed = (
        any(map(str.isupper, value))
        and any(map(str.islower, value))
        and any(map(str.isdigit, value))
    )
    return found["before"] + HIDDEN if mixed and not _HEX.fullmatch(value) else found[0]


def _hook(found: re.Match[str]) -> str:
    if not (_HOOK_PATH.fullmatch(found["hook"]) or _HOOK_HOST.search(found["before"])):
        return found[0]
    return f"{found['before']}{found['hook']}/{HIDDEN}"


def _other(found: re.Match[str]) -> str:
    value = found[1]
    kinds = re.findall(r"[A-Z]+|[a-z]+|\d+", value)
    digits = sum(kind.isdigit() for kind in kinds)
    # Words joined into a name rarely switch between lower and upper case.
    random = digits >= 2 and 3 * len(kinds) >= len(value)
    return HIDDEN if random and not value.islower() else found[0]
