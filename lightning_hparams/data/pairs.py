"""Match images with their masks."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from ..checks import counted
from ..notices import warn_user
from .listing import image_paths
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
    "key_of",
    "pattern_of",
    "without_mask_names",
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


def key_of(path: Path, folder: Path) -> str:
    """Return a file's path relative to a folder, without suffix and with normalised accents.

    >>> key_of(Path("photos/north/1.jpg"), Path("photos"))
    'north/1'
    """
    # macOS stores accents as separate characters, other systems mostly do not.
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())


def files_by_key(
    folder: Path,
    name: str,
    *,
    ending: str = "",
    but: str = "",
    below: bool = False,
    apart: Path | None = None,
) -> dict[str, Path]:
    """Find the image files of a folder by key; see :func:`key_of`.

    Args:
        folder: Folder to search; its subfolders are searched if it has no images itself.
        name: Name of the argument that gave the folder, for errors.
        ending: Only stems with this ending, which is removed from the keys.
        but: Exclude stems with this ending, unless it is empty.
        below: Search its subfolders in any case.
        apart: Folder of other files, which may lie inside the first one.

    Warns:
        UserWarning: If it has images itself, and further ones in subfolders, which are left out.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no images, or two with the same name.
    """
    _check_folder(folder, name)
    paths = image_paths(folder, below=True)
    loose = [] if below else [path for path in paths if path.parent == folder]
    if loose:
        _warn_of_deeper(folder, name, [path for path in paths if path.parent != folder], apart)
        paths = loose
    found = [
        (key.removesuffix(ending), path)
        for path in paths
        for key in [key_of(path, folder)]
        if key.endswith(ending) and not (but and key.endswith(but))
    ]
    if not found:
        named = f" with a name ending in {ending!r}" if ending else ""
        raise ValueError(
            f"`{name}`: {folder} has no images{named}; supported are {sorted(SUFFIXES)}"
        )
    return _unique(found, folder, name)


def files_by_pattern(folder: Path, name: str, pattern: str) -> dict[str, Path]:
    """Find the image files below a folder that match a pattern, by the text its wildcards match.

    Args:
        folder: Folder to search.
        name: Name of the argument that gave the pattern, for errors.
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
        images = counted(len(paths), "image")
        raise ValueError(
            f"`{name}`: {pattern!r} matches none of the {images} below {folder}"
            + (f": {some}" if paths else "")
        )
    return _unique(found, folder, name)


def pattern_of(name: str, pattern: str) -> re.Pattern[str]:
    r"""Compile a glob, or a regular expression with a group, for paths relative to a folder.

    ``*`` matches within the name of a folder or file, ``**/`` any folders, ``?`` a character; each
    is a group. The matched groups, joined by ``/``, are the key that image and mask share.

    >>> pattern_of("image_pattern", "*/*_leftImg8bit.png").fullmatch("ulm/1_leftImg8bit.png")[2]
    '1'
    >>> pattern_of("mask_pattern", r"mask_(\d+)\.png").fullmatch("mask_7.png")[1]
    '7'

    Raises:
        ValueError: If it has neither wildcard nor group.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"`{name}` must be a pattern of file names, got {pattern!r}")
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
            f"'mask_(.*)[.]png', for the text that image and mask share; got {pattern!r}"
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
    """Remove words such as ``image`` and ``mask`` from both keys; None if they still do not match.

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
    """Whether a file's name starts or ends with a word for a mask.

    >>> has_mask_word("train/100_mask"), has_mask_word("train/100_sat"), has_mask_word("maskulin")
    (True, False, False)
    """
    return _without(key, MASK_WORDS) != key


def without_mask_names(files: Mapping[str, Path]) -> dict[str, Path]:
    """Leave out files called after another one and a word for a mask.

    >>> files = {name: Path(name) for name in ("1_sat", "1_mask", "2", "mask_2", "3_mask")}
    >>> list(without_mask_names(files))
    ['1_sat', '2', '3_mask']
    """
    masks = {key: _without(key, MASK_WORDS | IMAGE_WORDS) for key in files if has_mask_word(key)}
    images = {_without(key, IMAGE_WORDS) for key in files if key not in masks}
    return {key: path for key, path in files.items() if masks.get(key) not in images}


def _without(key: str, words: Iterable[str]) -> str:
    """Remove words from both ends of the file's name in a key."""
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
    """Check that each image has a mask and each mask an image.

    Raises:
        ValueError: If some are missing, with the first five on each side.
    """
    alone = [path.name for key, path in images.items() if key not in masks]
    spare = [path.name for key, path in masks.items() if key not in images]
    if not alone and not spare:
        return
    parts = [f"images without a mask: {first_names(alone)}"] if alone else []
    parts += [f"masks without an image: {first_names(spare)}"] if spare else []
    raise ValueError(
        f"{_folder(images)} ({counted(len(images), 'image')}) and {_folder(masks)} "
        f"({counted(len(masks), 'mask')}) do not match: {'; '.join(parts)}; "
        "rename or remove them, or pass mask_suffix='_mask' for that ending, or "
        "image_pattern='image_*.jpg' and mask_pattern='mask_*.png' for other names"
    )


def first_names(names: list[str]) -> str:
    """Join the first few names of a list, with the number of further ones."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _warn_of_deeper(folder: Path, name: str, deeper: list[Path], apart: Path | None) -> None:
    if apart is not None and apart.resolve() != folder.resolve():
        deeper = [path for path in deeper if apart.resolve() not in path.resolve().parents]
    if deeper:
        some = first_names([path.relative_to(folder).as_posix() for path in deeper])
        warn_user(
            f"`{name}`: {folder} holds images itself, so {counted(len(deeper), 'image')} in its "
            f"subfolders ({some}) will not be used; move them, or pass "
            "image_pattern='**/*.jpg' and mask_pattern='**/*.png' for those of all folders"
        )


def _check_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"`{name}`: {folder} is not a folder; check the path")


def _unique(found: list[tuple[str, Path]], folder: Path, name: str) -> dict[str, Path]:
    counts = Counter(key for key, _ in found)
    twice = [path.name for key, path in found if counts[key] > 1]
    if twice:
        raise ValueError(
            f"`{name}`: {folder} has files with the same stem: {first_names(twice)}; remove all "
            "but one, or choose with image_pattern= or mask_pattern="
        )
    return dict(found)


def _folder(files: Mapping[str, Path]) -> str:
    return os.path.commonpath([path.parent for path in files.values()])
