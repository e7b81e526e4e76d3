"""Building and parsing tags: the only module that knows how a stage is spelled.

=========================================  =====================================================
tag                                        meaning
=========================================  =====================================================
``loss/{stage}``                           the loss
``loss/{stage}/{label}``                   one term of the loss
``metric/{name}/{stage}``                  a score over the whole set
``class/{name}/{label}/{stage}``           the score of one class
``class_extremes/{name}/{stage}``          a table of such scores
``pr/{label}/{stage}``                     the precision-recall curve of one class
``{confusion,calibration,...}/{stage}``    a picture or histogram
``perf/{name}/{stage}``, ``perf/{name}``   throughput, time or memory
``lr/{label}``, ``momentum/{label}``, ...  a value of one parameter group
``norm/{name}/{label}``                    a norm of one parameter group
``weights/{label}``, ``grads/{label}``     a histogram of one parameter
``best/{any tag}``                         the best value so far
anything else                              a user-defined name: ``val_loss``, ``acc/val``
=========================================  =====================================================

Labels (of classes, terms, groups) may contain anything, including slashes, spaces and stage names,
because tags are parsed from both ends: ``class/iou/a/val/b/test`` is the test score of the class
``a/val/b``. In these forms a stage is spelled ``train``, ``val`` or ``test``.

In a user-defined name the stage is the first whole word, in any case, among ``train``,
``training``, ``val``, ``valid``, ``validation`` and ``test``. Anything but a letter or a digit
separates words, so ``valid-acc`` and ``Val/acc`` belong to validation, while ``val2_loss``,
``value`` and ``valLoss`` have no stage.

Lightning appends ``_step`` or ``_epoch`` to a value logged both per step and per epoch, and
``/dataloader_idx_1`` if there are several dataloaders. After the label of a loss term only the
latter is removed: ``loss/val/first_epoch`` is the term ``first_epoch``.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias, TypedDict, cast

__all__ = ["Ending", "Kind", "Stage", "Tag", "best_tag", "tag"]

Stage: TypeAlias = Literal["train", "val", "test"]
Ending: TypeAlias = Literal["", "_step", "_epoch"]
Kind: TypeAlias = Literal[
    "loss",
    "metric",
    "class",
    "class_extremes",
    "pr",
    "confusion",
    "calibration",
    "confidence",
    "predicted",
    "perf",
    "lr",
    "momentum",
    "weight_decay",
    "norm",
    "weights",
    "grads",
    "own",
]

_WORDS: dict[str, Stage] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_ANY_STAGE = f"({'|'.join(_WORDS)})"
_WORD = re.compile(r"[^\W_]+")
_STAGE = "(?P<stage>train|val|test)"
_ENDING = "(?P<ending>_step|_epoch)?"
_LOADER = "(?:/dataloader_idx_(?P<loader>0|[1-9][0-9]{0,8}))?"
_OWN = re.compile(f"(?P<name>.+?){_ENDING}{_LOADER}", re.DOTALL)
_FORMS: dict[str, re.Pattern[str]] = {
    kind: re.compile(f"{kind}/{form}", re.DOTALL)
    for kind, form in {
        "loss": f"{_STAGE}(?:{_ENDING}|/(?P<label>.+?)){_LOADER}",
        "metric": f"(?P<name>.+)/{_STAGE}{_ENDING}{_LOADER}",
        "class": f"(?P<name>[^/]+)/(?P<label>.*)/{_STAGE}{_ENDING}{_LOADER}",
        "class_extremes": f"(?P<name>.+)/{_STAGE}{_LOADER}",
        "pr": f"(?P<label>.*)/{_STAGE}",
        "confusion": _STAGE,
        "calibration": _STAGE,
        "confidence": _STAGE,
        "predicted": _STAGE,
        "perf": f"(?P<name>.+?)(?:/{_STAGE})?",
        "lr": "(?P<label>.+)",
        "momentum": "(?P<label>.+)",
        "weight_decay": "(?P<label>.+)",
        "norm": "(?P<name>[^/]+)/(?P<label>.+)",
        "weights": "(?P<label>.+)",
        "grads": "(?P<label>.+)",
    }.items()
}
_BEST = "best/"


class _Fields(TypedDict):
    """Arguments of a :class:`Tag`."""

    kind: Kind
    name: str
    label: str
    stage: Stage | None
    ending: Ending
    loader: int | None
    best: bool


@dataclass(frozen=True)
class Tag:
    """A parsed tag; ``str(tag)`` builds the text, and :meth:`parse` is its inverse.

    Args:
        kind: Form of the tag; ``"own"`` for a user-defined name.
        name: Name of the metric or ``perf`` value, or the user-defined name without Lightning's
            suffixes.
        label: Name of the class, term, group or parameter.
        stage: ``"train"``, ``"val"`` or ``"test"``; for a user-defined name, as found in its words.
        ending: ``"_step"`` or ``"_epoch"`` if Lightning logs both.
        loader: Index of the dataloader if there are several.
        best: Whether this is the best value so far.

    Raises:
        ValueError: If the text would parse differently, such as a class score with a slash in its
            name.

    >>> str(Tag("class", "iou", "road/left", "val"))
    'class/iou/road/left/val'
    >>> Tag.parse("loss/val/dice/dataloader_idx_1")
    Tag(kind='loss', name='', label='dice', stage='val', ending='', loader=1, best=False)
    >>> [Tag.parse(text).stage for text in ("valid-acc", "val2_loss", "metric/val/test")]
    ['val', None, 'test']
    """

    kind: Kind
    name: str = ""
    label: str = ""
    stage: Stage | None = None
    ending: Ending = ""
    loader: int | None = None
    best: bool = False

    def __post_init__(self) -> None:
        if (read := _fields(str(self))) != asdict(self):
            raise ValueError(
                f"a tag must parse to its own parts, but {str(self)!r} would be read as {read}; "
                "change the name or label"
            )

    @staticmethod
    def parse(text: str) -> Tag:
        """Parse any tag; ``str`` of the result is ``text`` again."""
        return _parsed(text)

    def __str__(self) -> str:
        return "".join(self._parts())

    @property
    def is_part(self) -> bool:
        """Whether this belongs to a single class or loss term."""
        return self.kind in ("class", "class_extremes", "pr") or bool(
            self.kind == "loss" and self.label
        )

    @property
    def is_result(self) -> bool:
        """Whether this may be a loss or score, judging by the tag, and not its best value."""
        return self.kind in ("loss", "metric", "class", "own") and not self.best

    @property
    def is_whole(self) -> bool:
        """Whether this is a loss or score over a whole set: neither a part of one nor per step."""
        return self.is_result and not self.is_part and self.ending != "_step"

    @property
    def is_validation(self) -> bool:
        """Whether this is the loss or score of a whole validation set, so its best matters."""
        return self.is_whole and self.stage == "val"

    @property
    def title(self) -> str:
        """The tag without stage and suffix: the same for training and validation."""
        if self.stage is None:
            return str(self)
        before, _, after = self._parts()
        loader = "" if self.loader is None else f"/dataloader_idx_{self.loader}"
        text = before + re.sub("_(step|epoch)$", "", after.removesuffix(loader)) + loader
        return re.sub(r"([/_\-. ])[/_\-. ]+", r"\1", text).strip("/_-. ") or str(self)

    @property
    def any_stage(self) -> str:
        """Regular expression for the same tag with any stage."""
        before, spelled, after = self._parts()
        if not spelled:
            return re.escape(before + after)
        stages = _ANY_STAGE if spelled.islower() else f"(?i:{_ANY_STAGE[1:-1]})"
        return re.escape(before) + stages + re.escape(after)

    @property
    def any_label(self) -> str:
        """Regular expression for the same tag with any class, group or parameter."""
        return ".+".join(map(re.escape, str(replace(self, label="\0")).split("\0")))

    def _parts(self) -> tuple[str, str, str]:
        """The text before the stage, the stage as spelled, and the text after it."""
        best = _BEST if self.best else ""
        loader = "" if self.loader is None else f"/dataloader_idx_{self.loader}"
        end = self.ending + loader
        if self.kind == "own":
            start, stop = _stage_span(self.name)
            return best + self.name[:start], self.name[start:stop], self.name[stop:] + end
        if self.kind == "loss":
            term = f"/{self.label}" if self.label else ""
            return f"{best}loss/", self.stage or "", term + end
        held = _FORMS[self.kind].groupindex
        named = [getattr(self, part) for part in ("name", "label") if part in held]
        before = best + "/".join([self.kind, *named])
        return (before, "", end) if self.stage is None else (f"{before}/", self.stage, end)


@lru_cache(maxsize=4096)
def tag(kind: Kind, name: str = "", label: str = "", stage: Stage | None = None) -> str:
    """The text of a :class:`Tag`, cached because building one takes 15 us.

    >>> tag("loss", label="dice", stage="val")
    'loss/val/dice'
    """
    return str(Tag(kind, name, label, stage))


def best_tag(tag: str) -> str:
    """The tag for the best value so far of ``tag``.

    >>> best_tag("val_loss")
    'best/val_loss'
    """
    return _BEST + tag


def _stage_span(name: str) -> tuple[int, int]:
    """Span of the first word in a user-defined name that denotes a stage."""
    words = (match for match in _WORD.finditer(name) if match[0].lower() in _WORDS)
    return next((match.span() for match in words), (len(name), len(name)))


def _fields(text: str) -> _Fields:
    """Arguments of the :class:`Tag` that a text parses to."""
    best = text.startswith(_BEST) and len(text) > len(_BEST)
    text = text[len(_BEST) :] if best else text
    kind = text.partition("/")[0]
    match = _FORMS[kind].fullmatch(text) if kind in _FORMS else None
    if match is None:
        kind, match = "own", _OWN.fullmatch(text)
    found = {} if match is None else match.groupdict()
    name, loader = found.get("name") or "", found.get("loader")
    start, stop = _stage_span(name)
    own_stage = _WORDS.get(name[start:stop].lower())
    return {
        "kind": cast(Kind, kind),
        "name": name,
        "label": found.get("label") or "",
        "stage": own_stage if kind == "own" else cast(Stage | None, found.get("stage")),
        "ending": cast(Ending, found.get("ending") or ""),
        "loader": None if loader is None else int(loader),
        "best": best,
    }


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Tag:
    return Tag(**_fields(text))
