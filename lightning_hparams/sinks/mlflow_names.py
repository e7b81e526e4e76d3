"""Names that MLflow accepts."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..notices import Notices

__all__ = ["NAME_LENGTH", "Names", "image_name", "metric_name"]

NAME_LENGTH = 250
_IMAGE_LENGTH = 150  # becomes part of a file name


class Names:
    """Converts tags to valid names, and keeps those of different tags different.

    Args:
        notices: Where the first changed name is reported.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._known: dict[Callable[[str], str], dict[str, str]] = {}

    def of(self, tag: str, clean: Callable[[str], str]) -> str:
        """Return the name of a tag.

        Args:
            tag: The tag.
            clean: Converts it to a valid name; names are unique among those of one function.
        """
        known = self._known.setdefault(clean, {})
        if tag not in known:
            key = name = clean(tag)
            number = 2
            while key in known.values():
                key = f"{name[: _IMAGE_LENGTH - 4]}_{number}"
                number += 1
            known[tag] = key
            if key != tag:
                self._notices.warn(
                    "name",
                    f"some names are invalid and are changed: {tag!r} is written as {key!r}",
                )
        return known[tag]


def metric_name(tag: str) -> str:
    """Return a name that MLflow accepts on any system; on Windows it rejects colons.

    >>> metric_name("class/iou/mAP@0.5")
    'class/iou/mAP_0.5'
    """
    parts = [re.sub(r"[^\w\-. ]", "_", part) for part in tag.split("/")]
    return "/".join(part for part in parts if part.strip("."))[:NAME_LENGTH] or "_"


def image_name(tag: str) -> str:
    """Return a name that MLflow accepts as the key of an image."""
    return re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", tag)[:_IMAGE_LENGTH]
