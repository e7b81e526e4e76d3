"""Patches, in which some files are secret as a whole."""

from __future__ import annotations

import re

from .secret_texts import hide_in_code, hide_in_text

__all__ = ["hide_in_patch"]

_SECRET = re.compile(
    r"(?i)(?:^|/)(?:"
    r"\.env(?!\.(?:example|sample|template|dist)$)[\w.-]*|[\w.-]+\.env|\.?_?netrc|\.pgpass|pgpass\.conf"
    r"|\.git-credentials|\.npmrc|\.pypirc|\.htpasswd|\.my\.cnf|\.s3cfg|\.boto|\.dockercfg|\.vault-token"
    r"|\.?vault_pass(?:word)?(?:\.txt)?|\.envrc|\.secrets?|\.aws/credentials|\.kube/config|kubeconfig[\w.-]*"
    r"|\.docker/config\.json|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|rclone\.conf|\.kaggle/kaggle\.json|kaggle\.json"
    r"|(?:[\w.-]*[._-])?(?:secrets?|credentials?|passwords?|service[_-]?account[\w-]*)"
    r"(?:[._-][\w-]*)?\.(?:ya?ml|json|toml|ini|env|txt|cfg|conf|properties|csv|tfvars)|credentials"
    r"|[\w.-]+\.(?:pem|ppk|key|p12|pfx|jks|keystore|kdbx?|asc|gpg|ovpn|tfvars|tfstate|kubeconfig|pgpass|netrc)"
    r")$"
)
_CODE = (
    *(".c", ".cc", ".cpp", ".cu", ".cuh", ".go", ".h", ".hpp", ".ipynb", ".java", ".js"),
    *(".py", ".pyi", ".rs", ".ts"),
)
_SECRET_DATA = re.compile(r"(?m)^[+ -]?[ \t]*kind:[ \t]*[\"']?(?:Sealed)?Secret[\"']?[ \t\r]*$")


def hide_in_patch(text: str) -> str:
    """The text without secrets, where each part of a patch is treated according to its file.

    Changes to a file that mainly contains secrets, such as ``.env``, a key or a Kubernetes secret,
    are omitted; the rest of the patch can still be applied.
    """
    first, *parts = re.split(r"(?m)^(?=diff --git )", text)
    return "".join([hide_in_text(first) if first else "", *map(_part, parts)])


def _part(text: str) -> str:
    name = text.partition("\n")[0].rpartition(" b/")[2].strip().strip('"')
    if _SECRET.search(name) or _SECRET_DATA.search(text):
        return f"# changes to {name!r} are omitted: the file contains secrets\n"
    return hide_in_code(text) if name.endswith(_CODE) else hide_in_text(text)
