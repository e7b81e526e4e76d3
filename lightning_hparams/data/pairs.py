"""Which files belong together, and to which split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import torch

__all__ = ["check_matched", "check_splits", "files_by_stem", "random_split", "read_split"]

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_LISTED = 5


def files_by_stem(folder: Path, name: str, *, ending: str = "", but: str = "") -> dict[str, Path]:
    """Image files of a folder in the order of their names.

    Args:
        folder: Where to look; not in folders below it, and not at hidden files.
        name: Of the argument that gave the folder, for errors.
        ending: Only stems with this ending; it is taken off the keys.
        but: No stems with this ending, if it is not empty.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no image, or two of one stem.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"`{name}`: {folder} is no folder; check the path")
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _SUFFIXES
        and not path.name.startswith(".")
        and path.stem.endswith(ending)
        and not (but and path.stem.endswith(but))
    ]
    if not paths:
        named = f" with a name ending in {ending!r}" if ending else ""
        raise ValueError(f"`{name}`: {folder} holds no image{named}; known are {sorted(_SUFFIXES)}")
    counts = Counter(path.stem for path in paths)
    twice = [path.name for path in paths if counts[path.stem] > 1]
    if twice:
        raise ValueError(
            f"`{name}`: {folder} has files of the same stem: {_first(twice)}; "
            "which one is meant? remove the others"
        )
    return {path.stem.removesuffix(ending): path for path in paths}


def check_matched(images: Mapping[str, Path], masks: Mapping[str, Path]) -> None:
    """Check that each image has its mask and each mask its image.

    Raises:
        ValueError: If not, with the first five on either side.
    """
    alone = [path.name for stem, path in images.items() if stem not in masks]
    spare = [path.name for stem, path in masks.items() if stem not in images]
    if not alone and not spare:
        return
    parts = [f"images without a mask: {_first(alone)}"] if alone else []
    parts += [f"masks without an image: {_first(spare)}"] if spare else []
    raise ValueError(
        f"{_folder(images)} ({len(images)} images) and {_folder(masks)} ({len(masks)} masks) do "
        f"not match: {'; '.join(parts)}; rename or remove them, or see mask_suffix="
    )


def read_split(
    file: str | Path, images: Mapping[str, Path], masks: Mapping[str, Path]
) -> list[str]:
    """Read the stems of a split, one a line.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no text, or names what has no image or no mask.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"split file {path} does not exist; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}); save it as such") from error
    stems = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    for kind, known in {"image": images, "mask": masks}.items():
        unknown = [stem for stem in stems if stem not in known]
        if unknown:
            raise ValueError(
                f"{path} names {_first(unknown)}, of which there is no {kind} in "
                f"{_folder(known)}; a line holds a file name without its ending"
            )
    return stems


def random_split(stems: Iterable[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Split stems into train and validation, each in order, by nothing but the arguments.

    >>> random_split(["a", "b", "c", "d", "e"], 0.4, seed=0)
    (['b', 'c', 'd'], ['a', 'e'])
    """
    ordered = sorted(stems)
    shuffled = torch.randperm(len(ordered), generator=torch.Generator().manual_seed(seed))
    chosen = set(shuffled[: round(len(ordered) * fraction)].tolist())
    train = [stem for index, stem in enumerate(ordered) if index not in chosen]
    return train, [ordered[index] for index in sorted(chosen)]


def check_splits(splits: Mapping[str, Sequence[str]]) -> None:
    """Check that no split is empty and no two overlap.

    Raises:
        ValueError: If one is, or two do.
    """
    counts = {name: len(stems) for name, stems in splits.items()}
    for name, count in counts.items():
        if count == 0:
            raise ValueError(
                f"no image is left for {name} in the splits {counts}; change val_fraction or the "
                "split files"
            )
    for one, other in combinations(splits, 2):
        common = sorted(set(splits[one]) & set(splits[other]))
        if common:
            raise ValueError(
                f"{_first(common)} stand in both the {one} and the {other} split; "
                "remove them from one"
            )


def _folder(files: Mapping[str, Path]) -> Path:
    return next(iter(files.values())).parent


def _first(names: list[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
