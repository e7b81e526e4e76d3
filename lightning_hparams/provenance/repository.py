"""Commit of the running program, and uncommitted changes."""

from __future__ import annotations

import os
import subprocess
from typing import Any

__all__ = ["repository"]

_DIFF_BYTES = 2**20
# Independent of the user's display settings.
_AS_A_PATCH = (
    *("--no-color", "--no-ext-diff", "--no-textconv", "--no-relative"),
    *("--submodule=short", "--src-prefix=a/", "--dst-prefix=b/"),
)


def repository() -> dict[str, Any] | None:
    """Commit and changes of the repository in the working directory; None outside a repository.

    Values that git could not provide are missing, and ``error`` says why.
    """
    errors: list[str] = []

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *arguments],
                # Reading must not write to the index.
                env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
                capture_output=True,
                timeout=20,
            )
        except (OSError, subprocess.SubprocessError) as error:
            errors.append(str(error))
            return ""
        if done.returncode:
            errors.append(done.stderr.decode("utf-8", "replace").strip())
            return ""
        return done.stdout.decode("utf-8", "replace")

    commit = git("rev-parse", "--verify", "HEAD").strip()
    if errors:
        return None if "not a git repository" in errors[0] else {"error": errors[0]}
    # A changed binary would bloat the diff and take long, so only its name is kept.
    counts = [line.split("\t", 2) for line in git("diff", "--numstat", "-z", "HEAD").split("\0")]
    binaries = [path for added, _, path in (c for c in counts if len(c) == 3) if added == "-"]
    left_out = [f":(top,exclude,literal){path}" for path in binaries[:1000]]
    diff = git("diff", *_AS_A_PATCH, "HEAD", "--", ":/", *left_out)
    changed = git("status", "--porcelain").splitlines()
    branch = git("rev-parse", "--abbrev-ref", "HEAD").strip()
    failed = {"error": "; ".join(errors)} if errors else {}
    return {
        **failed,
        "commit": commit,
        "branch": branch,
        "remote": git("config", "--get", "remote.origin.url").strip() or None,
        "dirty": bool(changed),
        "untracked": [line[3:] for line in changed if line.startswith("??")][:100],
        "changed_binaries": binaries[:100],
        "diff": diff.encode()[:_DIFF_BYTES].decode("utf-8", "ignore"),
        "diff_is_cut": len(diff.encode()) > _DIFF_BYTES,
    }
