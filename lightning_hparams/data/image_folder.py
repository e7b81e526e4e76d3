"""Images with classes, labels or values, from folders or a table."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from ..checks import names_in, nearest, one_of, path_in
from ..notices import warn_user
from .augment import Augmentation, make_augmentation
from .classes import alike_classes, distinct_names
from .files import (
    FileData,
    LabelFileDataset,
    image_headers,
    images_below,
    path_or_none,
    plain_path,
)
from .layout import split_of, split_word
from .listing import is_visible
from .pairs import first_names
from .splits import split_files, split_keys
from .tables import labels_of, read_table, values_of

__all__ = ["ImageFolderData"]


class ImageFolderData(FileData):
    """Images in a folder for each class, or with labels or values in a table.

    ``setup`` reads the headers of all images, and ``check_files`` of them completely. An error
    names file, value and remedy; a warning names classes that do not occur, and images that are in
    two splits.

    Args:
        images: Folder with a subfolder for each class, as in torchvision's ``ImageFolder``, which
            may have subfolders itself; or with folders ``train``, ``val`` and ``test`` of such
            folders. With ``labels``, any folder of images. Hidden files, and those that are not
            images, are left out.
        labels: CSV file with a row for each image: its name, then a class, labels or numbers.
            Images without a row are not used. A column ``split`` may hold ``train``, ``val`` and
            ``test``.
        task: ``"multiclass"`` for one class per image; ``"multilabel"`` for any number of labels,
            in one cell as ``"cat;dog"`` or in a column of 0 and 1 for each; ``"regression"`` for
            numbers, where an empty cell is unknown.
        columns: Columns of ``labels`` with the classes, labels or numbers; None for all but that of
            the images.
        class_names: Names of the classes in the order of their indices; None for those of the
            folders or in the table, sorted. For ``"regression"``, names of the numbers.
        val_fraction: Share of the images used for validation, above 0 and below 1, unless folders,
            lists or the table define the splits. Each class has the same share.
        train_split: Text file with the name of an image per line.
        val_split: The same for validation.
        test_split: The same for test, whose images are removed from the other splits if it is given
            alone. Without a test set, it is the validation set.
        predict_images: Folder of images to predict; None for all of ``images``.
        size: Height and width ``[H, W]`` to resize to, or one number for both; None for no
            resizing.
        in_channels: 3 for RGB, 1 for grey, or the number of bands in the files.
        augment: Augmentation of training images; see :class:`~lightning_hparams.MaskFolderData`.
            Your own transform takes an image and returns it. Choose ``"none"`` where left and
            right differ, as in text.
        sampler: ``"random"``, or ``"balanced"``; see :class:`~lightning_hparams.data.VisionData`.
        batch_size: Images per batch; must be 1 if ``size`` is None and the images differ in size.
        num_workers: Number of worker processes.
        check_files: Number of images that ``setup`` reads completely, evenly spread.
        seed: Seed of the random split.

    Raises:
        ValueError: For arguments out of range, and for files that do not fit.
        FileNotFoundError: For a folder or file that does not exist.
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path | None = None,
        *,
        task: Literal["multiclass", "multilabel", "regression"] = "multiclass",
        columns: list[str] | None = None,
        class_names: list[str] | None = None,
        val_fraction: float = 0.2,
        train_split: str | Path | None = None,
        val_split: str | Path | None = None,
        test_split: str | Path | None = None,
        predict_images: str | Path | None = None,
        size: int | list[int] | None = 224,
        in_channels: int = 3,
        augment: bool | Literal["none", "flip", "light", "strong"] | Augmentation = True,
        sampler: Literal["random", "balanced"] = "random",
        batch_size: int = 32,
        num_workers: int = 2,
        check_files: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(
            "label",
            size=size,
            in_channels=in_channels,
            augment=augment,
            check_files=check_files,
            val_fraction=val_fraction,
            seed=seed,
            batch_size=batch_size,
            num_workers=num_workers,
            sampler=sampler,
        )
        one_of("task", task, ("multiclass", "multilabel", "regression"))
        if labels is None and task != "multiclass":
            raise ValueError(
                f"task={task!r} needs labels=, a CSV file: a folder gives each image one class"
            )
        if labels is None and columns is not None:
            raise ValueError("`columns` chooses columns of labels=, which is missing")
        if task == "regression" and sampler == "balanced":
            raise ValueError("`sampler='balanced'` needs classes, which task='regression' lacks")
        self.task = task
        self.images, self.labels = path_in("images", images), path_or_none("labels", labels)
        self.columns = None if columns is None else names_in("columns", columns)
        self._given = distinct_names(class_names)
        self.predict_images = path_or_none("predict_images", predict_images)
        self.split_files = split_files(train_split, val_split, test_split)
        # Plain strings and numbers, so that a checkpoint loads with weights_only=True.
        images, labels = str(images), plain_path(labels)
        train_split, val_split, test_split = map(plain_path, (train_split, val_split, test_split))
        predict_images = plain_path(predict_images)
        size = None if self.size is None else [*self.size]
        self.save_hyperparameters(
            ignore=[] if isinstance(augment, (bool, str)) else ["augment"], logger=False
        )
        self._found: tuple[dict[str, Path], Tensor, dict[str, str] | None] | None = None

    @property
    def class_names(self) -> list[str]:  # type: ignore[override]  # read from the files
        """Names of the classes, or of the numbers; reads the names of the files, or the table."""
        self._find()
        return self._names

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Number of classes, or of the numbers."""
        return len(self.class_names)

    def _setup_fit(self) -> None:
        files, goals, named = self._find()
        rows = {key: goals[index] for index, key in enumerate(files)}
        strata: dict[str, Hashable] = {
            key: int(row) if self.task == "multiclass" else "" for key, row in rows.items()
        }
        splits = split_keys(
            strata,
            files,
            named=named,
            lists=self.split_files,
            fraction=self.val_fraction,
            seed=self.seed,
        )
        paths = {name: [files[key] for key in keys] for name, keys in splits.items()}
        self._check_images(paths, image_headers([path for some in paths.values() for path in some]))
        sets = {}
        for name, keys in splits.items():
            moved = make_augmentation(self.augment, self.size) if name == "train" else None
            these = torch.stack([rows[key] for key in keys])
            sets[name] = LabelFileDataset(paths[name], these, self.in_channels, self.size, moved)
        if self.task != "regression":
            counts = {
                name: _totals(one.class_counts(), self.num_classes) for name, one in sets.items()
            }
            if (warning := unseen_classes(counts, self.class_names)) is not None:
                warn_user(f"{self.labels or self.images}: {warning}")
            if (warning := alike_classes(self.class_names)) is not None:
                warn_user(f"{self.labels or self.images}: {warning}")
        self.train_set, self.val_set = sets["train"], sets["validation"]
        self.test_set = sets.get("test", self.val_set)

    def _images_to_predict(self) -> list[Path]:
        folder = self.images if self.predict_images is None else self.predict_images
        name = "images" if self.predict_images is None else "predict_images"
        return [*images_below(folder, name).values()]

    def _find(self) -> tuple[dict[str, Path], Tensor, dict[str, str] | None]:
        """Return images by key, their labels or values, and their splits if they are named."""
        if self._found is None:
            files = images_below(self.images, "images")
            self._found = self._by_folder(files) if self.labels is None else self._by_table(files)
        return self._found

    def _by_folder(
        self, files: Mapping[str, Path]
    ) -> tuple[dict[str, Path], Tensor, dict[str, str] | None]:
        named = split_of(files)
        class_of = {key: key.split("/")[0 if named is None else 1 :][:-1][:1] for key in files}
        loose = [key for key, some in class_of.items() if not some]
        if loose:
            raise ValueError(
                f"{self.images} must have a folder for each class, but {first_names(loose)} "
                "is in none; move or remove it, or pass labels= with a CSV file"
            )
        folders = {key: some[0] for key, some in class_of.items()}
        empty = _folders(self.images, named is not None) - {*folders.values()}
        names = self._given or sorted({*folders.values()} | empty)
        for key, folder in folders.items():
            if folder not in names:
                raise ValueError(
                    f"{files[key]} is in the folder {folder!r}, which is not among class_names "
                    f"{names[:10]}{nearest(folder, names)}; add it, or remove the folder"
                )
        if len(names) < 2:
            raise ValueError(
                f"{self.images} must have a folder for each of at least two classes, but has only "
                f"{names[0]!r}; pass the folder that holds those of the classes"
            )
        self._names = list(names)
        labels = torch.tensor([names.index(folders[key]) for key in files])
        return dict(files), labels, named

    def _by_table(
        self, files: Mapping[str, Path]
    ) -> tuple[dict[str, Path], Tensor, dict[str, str] | None]:
        assert self.labels is not None
        table = read_table(self.labels, files, self.columns)
        if self.task == "regression":
            goals = values_of(table)
            self._names = self._given or list(table.columns)
            if len(self._names) != len(table.columns):
                raise ValueError(
                    f"`class_names` has {len(self._names)} names, but {self.labels} has the "
                    f"numbers {table.columns}; choose some with columns="
                )
        else:
            self._names, goals = labels_of(table, self._given, several=self.task == "multilabel")
        if len(self._names) < 2 and self.task == "multiclass":
            raise ValueError(
                f"{self.labels} has one class, {self._names}, and at least two are needed; pass "
                "columns= with the classes"
            )
        unused = len(files) - len(table.rows)
        if unused:
            rank_zero_info(f"{self.labels}: {unused} of {len(files)} images have no row")
        return {key: files[key] for key in table.rows}, goals, table.split or None


def unseen_classes(counts: Mapping[str, Tensor], names: list[str]) -> str | None:
    """Return a warning about classes that do not occur, or not in training, or None.

    >>> counts = {"train": torch.tensor([3, 0, 0]), "validation": torch.tensor([1, 1, 0])}
    >>> unseen_classes(counts, ["a", "b", "c"])
    "the classes ['c'] occur nowhere; ['b'] are not in training: remove them or add examples"
    """
    everywhere = torch.stack([*counts.values()]).sum(0) > 0
    trained = counts["train"] > 0
    nowhere = [name for name, there in zip(names, everywhere.tolist(), strict=True) if not there]
    untrained = [
        name
        for name, missing in zip(names, (everywhere & ~trained).tolist(), strict=True)
        if missing
    ]
    parts = [f"{nowhere} occur nowhere"] if nowhere else []
    if untrained:
        parts.append(f"{untrained} are not in training")
    return f"the classes {'; '.join(parts)}: remove them or add examples" if parts else None


def _totals(labels: Tensor, num_classes: int) -> Tensor:
    if labels.ndim == 1:
        return torch.bincount(labels, minlength=num_classes)
    return labels.sum(0)


def _folders(root: Path, splits: bool) -> set[str]:
    """Names of the folders for classes, including those without images."""
    parents = [path for path in _visible(root) if split_word(path.name)] if splits else [root]
    return {
        unicodedata.normalize("NFC", path.name) for parent in parents for path in _visible(parent)
    }


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and is_visible(path)]
