"""Find images of the training set that are in the validation or test set as well."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from .pairs import first_names

__all__ = ["identical_files", "near_duplicates", "repeats", "thumbnail"]

_HEAD = 1 << 14  # bytes
_SIDE = 16  # of a thumbnail
_BITS = 24  # of 240 that may differ: more than a change of size or compression makes
_LEAST_CORRELATION = 0.99
_LEAST_CONTRAST = 2.0  # standard deviation of a thumbnail; below, images are too empty to compare


def repeats(
    splits: Mapping[str, Sequence[Path]], thumbnails: Mapping[Path, npt.NDArray[np.float32]]
) -> str | None:
    """Return a warning about training images that occur in another split, or None.

    Args:
        splits: Images by split.
        thumbnails: Those of the images that were read.
    """
    same = dict.fromkeys(identical_files(splits))
    files = {name: [path for path in paths if path in thumbnails] for name, paths in splits.items()}
    near = [pair for pair in near_duplicates(files, thumbnails) if pair not in same]
    parts = []
    if same:
        parts.append(f"identical: {first_names([_shown(pair) for pair in same])}")
    if near:
        parts.append(f"almost identical: {first_names([_shown(pair) for pair in near])}")
    if not parts:
        return None
    return (
        f"images in train are in another split too; {'; '.join(parts)}. Scores on them do not "
        "show what is learned: move them to one split, by lists or folders"
    )


def identical_files(splits: Mapping[str, Sequence[Path]]) -> list[tuple[Path, Path]]:
    """Return pairs of a training file and one of another split with the same content, by SHA-256.

    Only files of equal size are read, and completely only those that start alike: uncompressed
    images all have the same size.
    """
    train = set(splits.get("train", ()))
    by_size: defaultdict[int, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(path for paths in splits.values() for path in paths):
        by_size[path.stat().st_size].append(path)
    digests: dict[Path, bytes] = {}
    groups = list(by_size.values())
    for count in (_HEAD, -1):
        alike = [
            path
            for paths in groups
            if 0 < len(train.intersection(paths)) < len(paths)
            for path in paths
        ]
        with ThreadPoolExecutor() as pool:
            found = pool.map(partial(_digest, count=count), alike)
            digests = dict(zip(alike, found, strict=True))
        by_digest: defaultdict[bytes, list[Path]] = defaultdict(list)
        for path, digest in digests.items():
            by_digest[digest].append(path)
        groups = list(by_digest.values())
    first: dict[bytes, Path] = {}
    for path in alike:
        if path in train:
            first.setdefault(digests[path], path)
    others = [path for path in alike if path not in train and digests[path] in first]
    return [(first[digests[path]], path) for path in others]


def near_duplicates(
    splits: Mapping[str, Sequence[Path]], thumbnails: Mapping[Path, npt.NDArray[np.float32]]
) -> list[tuple[Path, Path]]:
    """Return pairs of a training image and one of another split that look the same.

    Judged by a difference hash, which survives another size, compression and brightness, and by the
    correlation of the thumbnails.
    """
    train = list(splits.get("train", ()))
    others = [path for name, paths in splits.items() if name != "train" for path in paths]
    train, others = (
        [path for path in paths if thumbnails[path].std() >= _LEAST_CONTRAST]
        for paths in (train, dict.fromkeys(others))
    )
    if not train or not others:
        return []
    hashes = [np.stack([_hash(thumbnails[path]) for path in paths]) for paths in (train, others)]
    found = []
    for index, path in enumerate(others):
        differing = (hashes[0] != hashes[1][index]).sum(1)
        for candidate in np.flatnonzero(differing <= _BITS):
            one, other = thumbnails[train[candidate]], thumbnails[path]
            if np.corrcoef(one.ravel(), other.ravel())[0, 1] >= _LEAST_CORRELATION:
                found.append((train[candidate], path))
                break
    return found


def thumbnail(image: Tensor) -> npt.NDArray[np.float32]:
    """Reduce an image ``(I, H, W)`` to 16 x 16 grey values, 0..255 for one of 8 bits.

    A smaller image gives zeros: too little to compare.
    """
    if min(image.shape[-2:]) < _SIDE:
        return np.zeros((_SIDE, _SIDE), np.float32)
    scale = 1.0 if image.dtype == torch.uint8 else 255.0
    grey = image.float().mean(0, keepdim=True)[None]
    small: npt.NDArray[np.float32] = (F.adaptive_avg_pool2d(grey, _SIDE)[0, 0] * scale).numpy()
    return small


def _hash(small: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    return np.asarray(small[:, 1:] > small[:, :-1]).ravel()


def _digest(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(count)).digest()


def _shown(pair: tuple[Path, Path]) -> str:
    return f"{pair[0]} and {pair[1]}"
