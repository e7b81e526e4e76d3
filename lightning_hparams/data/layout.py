"""Find images and masks in a folder with one of the common layouts, by the names in it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from .listing import image_paths
from .pairs import (
    IMAGE_WORDS,
    MASK_WORDS,
    alike_names,
    check_matched,
    first_names,
    has_mask_word,
    key_of,
    without_mask_names,
)

__all__ = [
    "SPLIT_WORDS",
    "find_layout",
    "matched",
    "split_of",
    "split_word",
    "without_kind",
    "without_masks",
]

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_WORDS = {
    **dict.fromkeys(IMAGE_WORDS, "image"),
    **dict.fromkeys(MASK_WORDS - {"l"}, "mask"),
}


class _Role(NamedTuple):
    split: str  # "" for none
    kind: str  # "image", "mask" or "" for neither
    rest: str  # of the path, without the folders for split and kind


def find_layout(root: Path, *, whole: bool = True) -> tuple[dict[str, Path], dict[str, Path]]:
    """Find images and masks below a folder by keys, which start with ``train/``, ... for splits.

    Supported are folders called ``images``, ``masks``, ``labels``, ... combined with those of
    splits in any order (``train/images``, ``images/train``, ``train_images``), ``train`` next to
    ``trainannot``, and masks next to their images with names such as ``1_mask.png``.

    Args:
        root: The folder.
        whole: Whether each image must have a mask and each mask an image.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no images, no masks, or not one mask for each image.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"`images`: {root} is not a folder; check the path")
    files: defaultdict[str, dict[str, dict[str, Path]]] = defaultdict(
        lambda: {"image": {}, "mask": {}, "": {}}
    )
    paths = image_paths(root, below=True)
    for path in paths:
        role = _role(path.relative_to(root).parent.parts)
        key = "/".join(part for part in (role.split, role.rest, key_of(path, path.parent)) if part)
        same = files[role.split][role.kind]
        if key in same:
            raise ValueError(
                f"{same[key]} and {path} could both be the {role.kind or 'image'} {key!r}; pass "
                "the folders of images and masks, or image_pattern= and mask_pattern="
            )
        same[key] = path
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    # A folder such as "extra" next to the splits does not belong to any of them.
    names = [name for name in files if name] if "train" in files else [*files]
    for name in names:
        some, theirs = _one_split(root, files[name])
        if whole and some:
            some, theirs = matched(some, theirs)
        images |= some
        masks |= theirs
    if not images or not masks:
        found = first_names([path.relative_to(root).as_posix() for path in paths])
        raise ValueError(
            f"`images`: no images with masks recognised in {root} ({found or 'no images'}); "
            "name its folders images and masks, or pass both, or image_pattern= and mask_pattern="
        )
    return images, masks


def matched(
    images: Mapping[str, Path], masks: Mapping[str, Path]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return images and masks with the same keys, without words such as ``mask`` if necessary.

    Raises:
        ValueError: If an image or a mask has no counterpart.
    """
    if not set(images) & set(masks) and (alike := alike_names(images, masks)):
        return alike
    check_matched(images, masks)
    return dict(images), dict(masks)


def without_masks(files: Mapping[str, Path]) -> dict[str, Path]:
    """Return the images among files by key, judged by the names of folders and files.

    These are the files in folders such as ``images``; if there are none, all that are not in
    folders such as ``masks``; and if these are all, the files themselves. Of these, masks next to
    their images are left out.

    >>> without_masks({"images/1": Path("1.png"), "masks/1": Path("2.png")})
    {'images/1': PosixPath('1.png')}
    >>> without_masks({"train/1": Path("1.png"), "trainannot/1": Path("2.png")})
    {'train/1': PosixPath('1.png')}
    >>> without_masks({"1_sat": Path("1_sat.jpg"), "1_mask": Path("1_mask.png")})
    {'1_sat': PosixPath('1_sat.jpg')}
    """
    kinds = {key: _role(key.split("/")[:-1]).kind for key in files}
    for kind in ("image", ""):
        if kind in kinds.values():
            files = {key: path for key, path in files.items() if kinds[key] == kind}
            break
    return without_mask_names(files)


def split_of(keys: Iterable[str]) -> dict[str, str] | None:
    """Return the split named by each key's first folder; None if there is no training split.

    >>> split_of(["train/1", "val/2"])
    {'train/1': 'train', 'val/2': 'validation'}
    >>> split_of(["north/1", "train/2"])
    """
    found = {key: _role(key.split("/")[:1]).split if "/" in key else "" for key in keys}
    return found if all(found.values()) and "train" in found.values() else None


def split_word(name: str) -> str | None:
    """Return the split that a name contains, if it contains one.

    >>> split_word("train2017"), split_word("instances_val2017"), split_word("cats")
    ('train', 'validation', None)
    """
    splits = [SPLIT_WORDS[word] for word in _words(name) if word in SPLIT_WORDS]
    return splits[0] if splits else None


def without_kind(key: str) -> str:
    """Return a key without folders such as ``images`` and ``labels``, which its counterpart lacks.

    >>> without_kind("train/images/north/1"), without_kind("labels/train/north/1")
    ('train/north/1', 'train/north/1')
    """
    *folders, name = key.split("/")
    role = _role(folders)
    return "/".join(part for part in (role.split, role.rest, name) if part)


def _one_split(
    root: Path, files: Mapping[str, dict[str, Path]]
) -> tuple[dict[str, Path], dict[str, Path]]:
    images, masks = files["image"] or files[""], files["mask"]
    if masks and images:
        return images, masks
    mixed = {**files[""], **images, **masks}
    masks = {key: path for key, path in mixed.items() if has_mask_word(key)}
    images = {key: path for key, path in mixed.items() if key not in masks}
    return (images, masks) if images and masks else ({}, {})


def _role(folders: Iterable[str]) -> _Role:
    split = kind = ""
    rest = []
    for folder in folders:
        known = False
        for word in _words(folder):
            if word in SPLIT_WORDS and not split:
                split, known = SPLIT_WORDS[word], True
            elif word in _WORDS and not kind:
                kind, known = _WORDS[word], True
        if not known:
            rest.append(folder)
    return _Role(split, kind, "/".join(rest))


def _words(folder: str) -> list[str]:
    """Split a folder's name into words; ``trainannot`` has two.

    >>> _words("train_masks"), _words("trainannot"), _words("test2017"), _words("gtFine")
    (['train', 'masks'], ['train', 'annot'], ['test'], ['gtfine'])
    """
    words = []
    for word in re.split(r"[^a-z0-9]+", folder.lower()):
        bare = word if word in _WORDS else word.rstrip("0123456789")
        heads = [head for head in SPLIT_WORDS if bare.startswith(head)]
        head = max(heads, key=len, default="")
        tail = bare[len(head) :]
        words += [head, tail] if head and tail in _WORDS else [bare]
    return words
