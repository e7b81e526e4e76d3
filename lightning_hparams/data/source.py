"""Find the pairs of image and mask of each split, from folders, names and lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..checks import in_range
from .layout import find_layout, matched, split_of
from .listing import image_paths
from .pairs import (
    Pair,
    alike_names,
    files_by_key,
    files_by_pattern,
    pattern_of,
)
from .splits import check_splits, random_split, read_split

__all__ = ["PairSource"]

_LISTS = ("", "ImageSets/Segmentation", "splits")  # subfolders that may hold train.txt and val.txt


@dataclass(frozen=True)
class PairSource:
    """Folders, names and splits; see :class:`~lightning_hparams.MaskFolderData`.

    The keys of ``split_files`` are among ``train``, ``validation`` and ``test``.
    """

    images: Path
    masks: Path | None = None
    mask_suffix: str = ""
    image_pattern: str | None = None
    mask_pattern: str | None = None
    split_files: Mapping[str, str | Path] = field(default_factory=dict)
    val_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        in_range("val_fraction", self.val_fraction, above=0, below=1, remedy="0.2 is usual")
        if ("train" in self.split_files) != ("validation" in self.split_files):
            raise ValueError("`train_split` and `val_split` go together; give both or neither")
        if not isinstance(self.mask_suffix, str):
            raise TypeError(
                f"`mask_suffix` must be a string such as '_mask', got {self.mask_suffix!r}"
            )
        if self.mask_suffix and self.mask_pattern is not None:
            raise ValueError("`mask_suffix` and `mask_pattern` exclude each other; give one")
        for name in ("image_pattern", "mask_pattern"):
            if (pattern := getattr(self, name)) is not None:
                pattern_of(name, pattern)

    def splits(self) -> dict[str, dict[str, Pair]]:
        """Find the pairs by key of ``train``, ``validation`` and, if there is one, ``test``.

        Raises:
            FileNotFoundError: If a folder or file does not exist.
            ValueError: If files have no counterpart, or splits are empty or overlap.
        """
        listed = self.split_files or self._lists()
        if "train" in listed:
            images, masks = self._files(whole=False)
            if not set(images) & set(masks):
                images, masks = alike_names(images, masks) or (images, masks)
            splits = {name: read_split(file, images, masks) for name, file in listed.items()}
        else:
            images, masks = matched(*self._files())
            pairs = {key: (image, masks[key]) for key, image in images.items()}
            splits = self._by_folder(pairs)
            for name, file in listed.items():  # a test set, removed from the other splits
                chosen = read_split(file, images, masks)
                splits = {
                    other: {key: pair for key, pair in some.items() if key not in chosen}
                    for other, some in splits.items()
                    if other != name
                }
                splits[name] = chosen
            if "validation" not in splits:
                train, val = random_split(splits["train"], self.val_fraction, self.seed)
                splits = {
                    "train": {key: pairs[key] for key in train},
                    "validation": {key: pairs[key] for key in val},
                    **{name: some for name, some in splits.items() if name != "train"},
                }
        check_splits(
            {name: {k: image for k, (image, _) in pairs.items()} for name, pairs in splits.items()}
        )
        return splits

    def all_images(self) -> dict[str, Path]:
        """Find all images by key, ignoring masks unless both are in the same folder."""
        if self.image_pattern is not None or (self.masks is not None and not self._together):
            return self._images()
        if self.mask_suffix:
            return self._images()
        try:
            return self._files(whole=False)[0]
        except ValueError:  # images without masks, to predict
            return files_by_key(self.images, "images", below=True)

    @property
    def _together(self) -> bool:
        return self.masks is None or self.images.resolve() == self.masks.resolve()

    def _files(self, *, whole: bool = True) -> tuple[dict[str, Path], dict[str, Path]]:
        named = bool(self.mask_suffix or (self.image_pattern and self.mask_pattern))
        if named or not self._together:
            return self._images(), self._masks()
        try:
            return find_layout(self.images, whole=whole)
        except ValueError as error:
            if not whole and self.split_files:  # their lines may name both files
                return self._every_file()
            if self.masks is None:
                raise
            raise ValueError(
                f"`images` and `masks` are the same folder, {self.images}, so each file would be "
                "its own mask; pass the folder of the masks, or how their names differ: "
                "mask_suffix='_mask', or image_pattern= and mask_pattern="
            ) from error

    def _images(self) -> dict[str, Path]:
        if self.image_pattern is not None:
            return files_by_pattern(self.images, "image_pattern", self.image_pattern)
        but = self.mask_suffix if self._together else ""
        return files_by_key(self.images, "images", but=but, apart=self.masks)

    def _masks(self) -> dict[str, Path]:
        folder = self.images if self.masks is None else self.masks
        if self.mask_pattern is not None:
            return files_by_pattern(folder, "mask_pattern", self.mask_pattern)
        return files_by_key(folder, "masks", ending=self.mask_suffix, apart=self.images)

    def _every_file(self) -> tuple[dict[str, Path], dict[str, Path]]:
        files = {
            path.relative_to(self.images).as_posix(): path
            for path in image_paths(self.images, below=True)
        }
        return files, files

    def _lists(self) -> dict[str, str | Path]:
        """Find lists of splits in the folder, if only one was given."""
        if self.masks is not None:
            return {}
        names = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
        for subfolder in _LISTS:
            files = {name: self.images / subfolder / file for name, file in names.items()}
            found: dict[str, str | Path] = {k: file for k, file in files.items() if file.is_file()}
            if {"train", "validation"} <= set(found):
                return found
        return {}

    def _by_folder(self, pairs: Mapping[str, Pair]) -> dict[str, dict[str, Pair]]:
        named = split_of(pairs)
        if named is None:
            return {"train": dict(pairs)}
        splits: dict[str, dict[str, Pair]] = {}
        for name in ("train", "validation", "test"):
            some = {key: pair for key, pair in pairs.items() if named[key] == name}
            if some:
                splits[name] = some
        return splits
