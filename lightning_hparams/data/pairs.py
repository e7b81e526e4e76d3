"""Which image and which mask belong together."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from .pictures import SUFFIXES

__all__ = [
    "IMAGE_WORDS",
    "MASK_WORDS",
    "Pair",
    "alike_names",
    "check_matched",
    "files_by_key",
    "files_by_pattern",
    "first_names",
    "has_mask_word",
    "image_paths",
    "key_of",
    "pattern_of",
]

Pair: TypeAlias = tuple[Path, Path]

_LISTED = 5
IMAGE_WORDS = frozenset(
    {"image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "frame", "frames"}
    | {"input", "inputs", "rgb", "sat", "jpegimages", "leftimg8bit"}
)
MASK_WORDS = frozenset(
    {"mask", "masks", "label", "labels", "lbl", "labelids", "labeltrainids", "target", "targets"}
    | {"annot", "annots", "annotation", "annotations", "groundtruth", "truth", "gt", "gtfine"}
    | {"seg", "segmentation", "segmentations", "segmentationclass", "manual", "manual1", "l"}
)


def image_paths(folder: Path, *, below: bool) -> list[Path]:
    """Files with the ending of an image, in the order of their names; hidden ones are left out.

    Args:
        folder: Where to look.
        below: Whether to look into its subfolders too, also where they are links.
    """
    paths = sorted(_walk(folder, set()) if below else folder.iterdir())
    return [
        path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]


def key_of(path: Path, folder: Path) -> str:
    """A file's path below a folder without its ending, in one way of writing accents.

    >>> key_of(Path("photos/north/1.jpg"), Path("photos"))
    'north/1'
    """
    # macOS writes an accent as a character of its own, other systems mostly do not.
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())


def files_by_key(folder: Path, name: str, *, ending: str = "", but: str = "") -> dict[str, Path]:
    """Image files of a folder by their names without ending; see :func:`key_of`.

    Args:
        folder: Where to look; in its subfolders if it holds no image itself.
        name: Of the argument that gave the folder, for errors.
        ending: Only stems with this ending; it is taken off the keys.
        but: No stems with this ending, if it is not empty.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no image, or two of one name.
    """
    _check_folder(folder, name)
    paths = image_paths(folder, below=False) or image_paths(folder, below=True)
    found = [
        (key.removesuffix(ending), path)
        for path in paths
        for key in [key_of(path, folder)]
        if key.endswith(ending) and not (but and key.endswith(but))
    ]
    if not found:
        named = f" with a name ending in {ending!r}" if ending else ""
        raise ValueError(f"`{name}`: {folder} holds no image{named}; known are {sorted(SUFFIXES)}")
    return _unique(found, folder, name)


def files_by_pattern(folder: Path, name: str, pattern: str) -> dict[str, Path]:
    """Image files below a folder whose path there matches a pattern, by what its wildcards match.

    Args:
        folder: Where to look.
        name: Of the argument that gave the pattern, for errors.
        pattern: See :func:`pattern_of`.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If nothing matches, or two files have the same key.
    """
    _check_folder(folder, name)
    wanted = pattern_of(name, pattern)
    paths = image_paths(folder, below=True)
    found = []
    for path in paths:
        match = wanted.fullmatch(unicodedata.normalize("NFC", path.relative_to(folder).as_posix()))
        if match:
            found.append(("/".join(group for group in match.groups() if group), path))
    if not found:
        some = first_names([path.relative_to(folder).as_posix() for path in paths])
        raise ValueError(
            f"`{name}`: {pattern!r} matches none of the {len(paths)} images below {folder}"
            + (f": {some}" if paths else "")
        )
    return _unique(found, folder, name)


def pattern_of(name: str, pattern: str) -> re.Pattern[str]:
    r"""A glob, or a regular expression with a group, that a path below a folder must match.

    ``*`` matches within a folder's or file's name, ``**/`` any folders, ``?`` a character; each is
    a group. What the groups match, joined by ``/``, is the key that image and mask share.

    >>> pattern_of("image_pattern", "*/*_leftImg8bit.png").fullmatch("ulm/1_leftImg8bit.png")[2]
    '1'
    >>> pattern_of("mask_pattern", r"mask_(\d+)\.png").fullmatch("mask_7.png")[1]
    '7'

    Raises:
        ValueError: If it has neither wildcard nor group.
    """
    pattern = unicodedata.normalize("NFC", pattern)
    try:
        expression = re.compile(pattern)
        if expression.groups:
            return expression
    except re.error:
        pass
    parts = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", pattern)
    if len(parts) == 1:
        raise ValueError(
            f"`{name}` needs a wildcard, as in '*_mask.png', or a group, as in "
            f"'mask_(.*)[.]png', for what image and mask share; got {pattern!r}"
        )
    groups = {"**/": "(?:(.*)/)?", "*": "([^/]*)", "?": "([^/])"}
    translated = [
        groups.get(part, f"({part})") if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    ]
    return re.compile("".join(translated))


def alike_names(
    images: Mapping[str, Path], masks: Mapping[str, Path]
) -> tuple[dict[str, Path], dict[str, Path]] | None:
    """Both without words such as ``image`` and ``mask`` in their names, if they match then.

    >>> images, masks = {"img_1": Path("img_1.png")}, {"1_mask": Path("1_mask.png")}
    >>> alike_names(images, masks)
    ({'1': PosixPath('img_1.png')}, {'1': PosixPath('1_mask.png')})
    """
    shorter = [
        [(_without(key, words), path) for key, path in files.items()]
        for files, words in ((images, IMAGE_WORDS), (masks, MASK_WORDS | IMAGE_WORDS))
    ]
    one, other = (dict(files) for files in shorter)
    if set(one) == set(other) and len(one) == len(images) and len(other) == len(masks):
        return one, other
    return None


def has_mask_word(key: str) -> bool:
    """Whether a file's name begins or ends with a word for a mask.

    >>> has_mask_word("train/100_mask"), has_mask_word("train/100_sat"), has_mask_word("maskulin")
    (True, False, False)
    """
    return _without(key, MASK_WORDS) != key


def _without(key: str, words: Iterable[str]) -> str:
    """A key without words at either end of the file's name."""
    folder, slash, stem = key.rpartition("/")
    while True:
        parts = re.split(r"([^0-9A-Za-z]+)", stem)
        if len(parts) >= 3 and parts[-1].lower() in words:
            stem = "".join(parts[:-2])
        elif len(parts) >= 3 and parts[0].lower() in words:
            stem = "".join(parts[2:])
        else:
            return f"{folder}{slash}{stem}"


def check_matched(images: Mapping[str, Path], masks: Mapping[str, Path]) -> None:
    """Check that each image has its mask and each mask its image.

    Raises:
        ValueError: If not, with the first five on either side.
    """
    alone = [path.name for key, path in images.items() if key not in masks]
    spare = [path.name for key, path in masks.items() if key not in images]
    if not alone and not spare:
        return
    parts = [f"images without a mask: {first_names(alone)}"] if alone else []
    parts += [f"masks without an image: {first_names(spare)}"] if spare else []
    raise ValueError(
        f"{_folder(images)} ({len(images)} images) and {_folder(masks)} ({len(masks)} masks) do "
        f"not match: {'; '.join(parts)}; rename or remove them, or pass mask_suffix='_mask' for "
        "names that end so, or image_pattern='image_*.jpg' and mask_pattern='mask_*.png' for others"
    )


def first_names(names: list[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _check_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"`{name}`: {folder} is no folder; check the path")


def _walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:  # a link to a folder above
        return
    seen.add(real)
    for path in folder.iterdir():
        if path.is_dir():
            if not path.name.startswith("."):
                yield from _walk(path, seen)
        else:
            yield path


def _unique(found: list[tuple[str, Path]], folder: Path, name: str) -> dict[str, Path]:
    counts = Counter(key for key, _ in found)
    twice = [path.name for key, path in found if counts[key] > 1]
    if twice:
        raise ValueError(
            f"`{name}`: {folder} has files of the same stem: {first_names(twice)}; which one is "
            "meant? remove the others, or choose by image_pattern= or mask_pattern="
        )
    return dict(found)


def _folder(files: Mapping[str, Path]) -> str:
    return os.path.commonpath([path.parent for path in files.values()])
