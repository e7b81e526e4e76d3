"""Draw the samples of a pass over a loader and write them to the loggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from lightning import Trainer
from PIL import Image

from ..notices import FAILURE, Notices
from ..render import Picture, encode, sheet, sheets
from ..samples import DrawOptions, Gallery, Sample, draw, worst_of
from ..sinks import Sinks

__all__ = ["Drawing", "PictureWriter", "gathered", "page", "pages", "save_page"]

_WIDTH = 1100  # of a sheet in pixels
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Drawing:
    """The samples of one pass over a loader, with everything needed to draw them."""

    step: int
    gallery: Gallery
    options: DrawOptions

    def gathered(self, trainer: Trainer) -> Drawing:
        """Gather the samples of all ranks. Collective: must be called on every rank."""
        parts = gathered(trainer, (self.gallery.samples, self.gallery.worst))
        whole = Gallery(self.gallery.chosen)
        whole.samples = {index: sample for part, _ in parts for index, sample in part.items()}
        whole.worst = [sample for _, part in parts for sample in part]
        return Drawing(self.step, whole, self.options)


class PictureWriter:
    """Draws samples and writes the pictures to all loggers.

    Args:
        sinks: The loggers; empty on ranks that write nothing.
        layout: ``"samples"`` or ``"sheet"``.
        worst_k: Maximum number of worst samples to draw.
        notices: Receives errors of samples that cannot be drawn.
    """

    def __init__(self, sinks: Sinks, layout: str, worst_k: int, notices: Notices) -> None:
        self.sinks = sinks
        self.layout = layout
        self.worst_k = worst_k
        self.notices = notices

    def draw(self, stage: str, drawing: Drawing, *, only_one: bool = False) -> list[Picture]:
        """Draw and write the samples of all ranks.

        Args:
            stage: ``"val"`` or ``"test"``.
            drawing: The samples to draw.
            only_one: Draw only one chosen sample, to test whether drawing works.

        Returns:
            The pictures of the chosen samples.
        """
        gallery = drawing.gallery
        present = [(n, i) for n, i in enumerate(gallery.chosen) if i in gallery.samples]
        if gallery.chosen and not present and not self._is_explained():
            self.notices.warn(
                "no picture",
                f"shows no picture: the loader returned none of the samples {gallery.chosen}; pass "
                "select='first', or indices of samples it returns",
            )
        present = present[:1] if only_one else present
        named = {f"{n:02d}_idx{i:05d}": (f"sample {i}", gallery.samples[i]) for n, i in present}
        chosen = self._pictures(drawing.options, named)
        if self.sinks:
            self._write(chosen, f"{stage}_pred", drawing.step)
            faults = {
                f"{n:02d}": (f"worst {n + 1}: sample {sample.index}", sample)
                for n, sample in enumerate(worst_of(gallery.worst, self.worst_k))
            }
            worst = self._pictures(drawing.options, faults)
            self._write(worst, f"{stage}_worst", drawing.step)
            self.sinks.flush()
        return list(chosen.values())

    def _pictures(
        self, options: DrawOptions, samples: Mapping[str, tuple[str, Sample]]
    ) -> dict[str, Picture]:
        """Pictures by name, drawn from pairs of caption and sample."""
        pictures = {}
        for name, (caption, sample) in samples.items():
            with self.notices.instead_of_errors(f"draw sample {sample.index}"):
                pictures[name] = draw(sample, options, caption)
        return pictures

    def _write(self, pictures: Mapping[str, Picture], tag: str, step: int) -> None:
        if self.layout == "sheet" and pictures:
            made = pages(list(pictures.values()))
            names = ["sheet", *(f"sheet_{n + 1}" for n in range(1, len(made)))]
            pictures = dict(zip(names, made, strict=True))
        for name, picture in pictures.items():
            self.sinks.image(f"{tag}/{name}", encode(picture), step)

    def _is_explained(self) -> bool:
        """Whether an earlier warning already explains the missing pictures."""
        return FAILURE in self.notices or "no output" in self.notices


def gathered(trainer: Trainer, part: _Part) -> list[_Part]:
    """Gather an object from all ranks. Collective: must be called on every rank."""
    parts = [part] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(parts, part)
    return parts


def pages(pictures: Sequence[Picture]) -> list[Picture]:
    """Arrange pictures on sheets about as wide as a screen."""
    return sheets(pictures, _columns(pictures))


def page(pictures: Sequence[Picture]) -> Picture:
    """Arrange pictures on a single sheet about as wide as a screen."""
    return sheet(pictures, _columns(pictures))


def save_page(pictures: Sequence[Picture], path: str | Path, what: str) -> Path:
    """Save pictures as one image file, in a folder that is created if missing.

    Raises:
        RuntimeError: If there are none; ``what`` says what has not been drawn.
    """
    if not pictures:
        raise RuntimeError(f"no {what} has been drawn yet; call save_sheet after training")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page(pictures)).save(path)
    return path


def _columns(pictures: Sequence[Picture]) -> int:
    widest: int = max(picture.shape[1] for picture in pictures)
    return max(_WIDTH // widest, 1)
