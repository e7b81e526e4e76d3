"""What was found, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from .. import json_text
from ..checks import counted

__all__ = ["Diagnosis", "Finding", "Level"]

Level: TypeAlias = Literal["ok", "note", "warning", "error"]

_MARKS: dict[Level, str] = {"ok": "ok", "note": "-", "warning": "!", "error": "x"}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        section: What it belongs to: ``"packages"``, ``"machine"``, ``"configuration"``, ``"data"``.
        level: ``"error"`` for what stops a run or makes it wrong, ``"warning"`` for what may.
        text: A sentence.
        remedy: What to do about it; empty if there is nothing to do.
    """

    section: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order in which they are read."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.of("error")

    def of(self, level: Level) -> list[Finding]:
        """Return the findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    def to_text(self) -> str:
        """Return the findings by section, each with its remedy, and a summary at the end."""
        lines = []
        for section in dict.fromkeys(finding.section for finding in self.findings):
            lines.append(section)
            for finding in self.findings:
                if finding.section == section:
                    lines.append(f"  {_MARKS[finding.level]:<2} {finding.text}")
                    lines += [f"     {finding.remedy}"] if finding.remedy else []
        counts = Counter(finding.level for finding in self.findings)
        summary = [counted(counts[level], level) for level in ("error", "warning") if counts[level]]
        return "\n".join([*lines, ", ".join(summary) or "no errors, no warnings"])

    def to_json(self) -> str:
        """Return the findings as JSON, with ``"ok"`` for all of them."""
        findings = [asdict(finding) for finding in self.findings]
        return json_text.write({"ok": self.ok, "findings": findings}, indent=2)
