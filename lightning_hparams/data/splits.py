"""Splits of pairs of image and mask into training, validation and test."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import torch

from ..checks import counted, path_in
from .pairs import Pair, first_names
from .pictures import SUFFIXES

__all__ = [
    "check_splits",
    "found_in",
    "in_another_folder",
    "names_of",
    "others_called",
    "random_split",
    "read_keys",
    "read_split",
    "split_files",
    "split_keys",
    "stratified_split",
]


def read_split(
    file: str | Path, images: Mapping[str, Path], masks: Mapping[str, Path]
) -> dict[str, Pair]:
    """Read the pairs of a split, one per line.

    A line holds the name of an image, with or without suffix and folder, or the names of an image
    and its mask, separated by a space, tab or comma. Paths from another machine are matched by
    their last parts.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not text, or names a file without an image or a mask.
    """
    path = Path(file)
    lines = _lines(path)
    image_names, mask_names = names_of(images), names_of(masks)
    keys = {image: key for key, image in images.items()}
    pairs: dict[str, Pair] = {}
    unknown: dict[str, list[str]] = {"image": [], "mask": []}
    for number, line in enumerate(lines):
        key = found_in(line, image_names)
        if key is not None and key in masks and masks[key] != images[key]:
            pairs[key] = images[key], masks[key]
        elif two := _two_found(path, line, images, masks, image_names, mask_names):
            pairs[keys.get(two[0], two[0].as_posix())] = two
        elif number == 0 and re.fullmatch(r"[a-z_]+[\s,]+[a-z_]+", line.lower()):
            continue  # a header: image,mask
        else:
            unknown["image" if key is None else "mask"].append(line)
    for kind, known in {"image": images, "mask": masks}.items():
        if unknown[kind]:
            raise ValueError(
                f"{path} names {first_names(unknown[kind])}, for which there is no {kind} in "
                f"{next(iter(known.values())).parent}; a line must hold a file name, or the paths "
                "of an image and its mask"
            )
    return pairs


def read_keys(file: str | Path, files: Mapping[str, Path]) -> list[str]:
    """Read the keys of a split, from a list with one file name per line; see :func:`read_split`.

    Text after the name, separated by space, tab or comma, is ignored, as are lines of Pascal VOC
    that end in -1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not text, or names a file that does not exist.
    """
    path = Path(file)
    names = names_of(files)
    keys: dict[str, None] = {}
    unknown = []
    for line in _lines(path):
        if (key := found_in(line, names)) is None:
            first, *rest = re.split(r"[\s,]+", line)
            key = found_in(first, names)
            if key is not None and rest == ["-1"]:
                continue
        if key is None:
            unknown.append(line)
        else:
            keys[key] = None
    if unknown:
        raise ValueError(
            f"{path} names {first_names(unknown)}, which is not among the "
            f"{counted(len(files), 'image')}; a line must hold a file name"
        )
    return [*keys]


def split_files(
    train: str | Path | None, val: str | Path | None, test: str | Path | None
) -> dict[str, Path]:
    """Return the arguments ``train_split``, ``val_split`` and ``test_split`` by split.

    Raises:
        ValueError: If only one of the first two is given.
    """
    if (train is None) != (val is None):
        raise ValueError("`train_split` and `val_split` go together; give both or neither")
    files = {"train": train, "validation": val, "test": test}
    return {
        name: path_in(f"{name}_split", file) for name, file in files.items() if file is not None
    }


def split_keys(
    labels: Mapping[str, Hashable],
    files: Mapping[str, Path],
    *,
    named: Mapping[str, str] | None,
    lists: Mapping[str, str | Path],
    fraction: float,
    seed: int,
) -> dict[str, list[str]]:
    """Split keys into ``train``, ``validation`` and, if there is one, ``test``.

    Args:
        labels: Label of each key, of which each split of a random division gets its share.
        files: Image of each key.
        named: Split of each key, from the names of folders or a column, if there are any.
        lists: Text files by split, which take precedence: one of the test set alone removes its
            images from the other splits.
        fraction: Share of a random validation set.
        seed: Seed of the random division.

    Raises:
        FileNotFoundError: If a list does not exist.
        ValueError: If splits are empty or overlap, or a list names a file that does not exist.
    """
    splits = {name: read_keys(file, files) for name, file in lists.items()}
    if "train" not in splits and named is not None:
        taken = {key for keys in splits.values() for key in keys}
        found = {
            name: [key for key in labels if named[key] == name and key not in taken]
            for name in ("train", "validation", "test")
            if name not in splits and name in named.values()
        }
        splits = {**found, **splits}
    if "train" not in splits:
        taken = {key for keys in splits.values() for key in keys}
        splits = {"train": [key for key in labels if key not in taken], **splits}
    if "validation" not in splits:
        keys = sorted(splits.pop("train"))
        train, val = stratified_split([labels[key] for key in keys], fraction, seed)
        chosen = {"train": [keys[i] for i in train], "validation": [keys[i] for i in val]}
        splits = {**chosen, **splits}
    check_splits({name: {key: files[key] for key in keys} for name, keys in splits.items()})
    return splits


def random_split(stems: Iterable[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Split stems into train and validation, each in order; depends on nothing but the arguments.

    >>> random_split(["a", "b", "c", "d", "e"], 0.4, seed=0)
    (['b', 'c', 'd'], ['a', 'e'])
    """
    ordered = sorted(stems)
    shuffled = torch.randperm(len(ordered), generator=torch.Generator().manual_seed(seed))
    chosen = set(shuffled[: round(len(ordered) * fraction)].tolist())
    train = [stem for index, stem in enumerate(ordered) if index not in chosen]
    return train, [ordered[index] for index in sorted(chosen)]


def stratified_split(
    labels: Sequence[Hashable], fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Split indices into train and validation, each in order, with the same share of each label.

    The validation set has the size that ``fraction`` asks for; where the share of a label is not a
    whole number, it is rounded up or down. A label stays in train while it has a single sample.

    >>> labels = ["cat", "cat", "cat", "dog", "dog", "dog"]
    >>> [[labels[index] for index in part] for part in stratified_split(labels, 0.34, seed=0)]
    [['cat', 'cat', 'dog', 'dog'], ['cat', 'dog']]
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tolist()
    groups: dict[Hashable, list[int]] = {}
    for index in shuffled:
        groups.setdefault(labels[index], []).append(index)
    counts = {label: int(len(some) * fraction) for label, some in groups.items()}
    rest = {label: len(some) * fraction - counts[label] for label, some in groups.items()}
    missing = round(len(labels) * fraction) - sum(counts.values())
    able = [label for label in groups if counts[label] + 1 < len(groups[label])]
    for label in sorted(able, key=lambda label: -rest[label])[:missing]:
        counts[label] += 1
    val = {index for label, some in groups.items() for index in some[: counts[label]]}
    return [index for index in range(len(labels)) if index not in val], sorted(val)


def check_splits(splits: Mapping[str, Mapping[str, Path]]) -> None:
    """Check that no split, given by the image of each key, is empty, and that none overlap.

    Raises:
        ValueError: If one is empty or two overlap.
    """
    counts = {name: len(pairs) for name, pairs in splits.items()}
    for name, count in counts.items():
        if count == 0:
            raise ValueError(
                f"no image is left for {name} in the splits {counts}; change val_fraction or the "
                "split files, folders or column"
            )
    for one, other in combinations(splits, 2):
        theirs = set(splits[other].values())
        common = sorted(key for key, image in splits[one].items() if image in theirs)
        if common:
            raise ValueError(
                f"{first_names(common)} are in both the {one} and the {other} split; "
                "remove them from one"
            )


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"split file {path} does not exist; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    lines = [unicodedata.normalize("NFC", line.strip()) for line in text.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


def names_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Map all names of a file to its key: the key itself, and any tail of its path."""
    names: dict[str, str | None] = {}
    for key, path in files.items():
        whole = unicodedata.normalize("NFC", path.as_posix())
        tails = [whole[match.end() :] for match in re.finditer("/", whole)]
        for name in {whole, *tails, *(str(Path(tail).with_suffix("")) for tail in tails)} - {key}:
            names[name] = None if name in names else key  # None if ambiguous
    names |= dict(zip(files, files, strict=True))
    return {name: key for name, key in names.items() if key is not None}


def found_in(name: str, names: Mapping[str, str]) -> str | None:
    """Return the key of a file by any of its names; paths from another machine by their tails."""
    name = unicodedata.normalize("NFC", name).replace("\\", "/")
    tails = [name, *(name[match.end() :] for match in re.finditer("/", name))]
    for tail in tails:
        if tail in names:
            return names[tail]
        bare = Path(tail)
        if bare.suffix.lower() in SUFFIXES and str(bare.with_suffix("")) in names:
            return names[str(bare.with_suffix(""))]
    return None


def in_another_folder(name: str, key: str) -> bool:
    """Whether a name that :func:`found_in` found has another last folder than the file.

    >>> [in_another_folder(name, "cat/1") for name in ("/data/cat/1.png", "1.png", "dog/1.png")]
    [False, False, True]
    """
    name = unicodedata.normalize("NFC", name).replace("\\", "/")
    given, there = Path(name).parent.name, Path(key).parent.name
    return bool(given and there) and given != there


def others_called(name: str, files: Mapping[str, Path]) -> str:
    """Return a hint for an error, if a name stands for several files, or "".

    >>> others_called("1.png", {key: Path(key) for key in ("a/1.png", "b/1.png", "b/2.png")})
    ': a/1.png, b/1.png have this name; give the folder too'
    """
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    found = [key for key, path in files.items() if name and name in (path.name, path.stem)]
    return f": {first_names(found)} have this name; give the folder too" if len(found) > 1 else ""


def _two_found(
    file: Path,
    line: str,
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    image_names: Mapping[str, str],
    mask_names: Mapping[str, str],
) -> Pair | None:
    """Return image and mask of a line that names both, even if names contain spaces."""
    for gap in re.finditer(r"\s*[,;\t]\s*|\s+", line):
        texts = line[: gap.start()], line[gap.end() :]
        paths = [
            _path(file, text, files, names)
            for text, files, names in zip(
                texts, (images, masks), (image_names, mask_names), strict=True
            )
        ]
        if paths[0] is not None and paths[1] is not None:
            return paths[0], paths[1]
    return None


def _path(
    file: Path, text: str, files: Mapping[str, Path], names: Mapping[str, str]
) -> Path | None:
    text = text.strip("\"'")
    if not text:
        return None
    beside = file.parent / text  # an absolute path is itself
    if beside.suffix.lower() in SUFFIXES and beside.is_file():
        return beside
    key = found_in(text, names)
    return None if key is None else files[key]
