"""Judge the data of a data module."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lightning import LightningDataModule

from ..checks import counted
from ..data import SplitSurvey, Survey, data_in, survey
from .findings import Finding

__all__ = ["data_findings", "folder_findings", "judge"]

_SHOWN = 3
_UNEVEN = 10.0  # ratio of class counts above which there is a warning


def folder_findings(folder: Path, limit: int = 500) -> list[Finding]:
    """Recognise and judge the data in a folder."""
    try:
        data = data_in(folder, batch_size=1, num_workers=0, check_files=limit)
    except (ValueError, OSError) as error:
        return [Finding("data", "error", str(error))]
    found = data_findings(data, limit)
    # Boxes that do not fit are an error; look at the rest of the data without them.
    if data.goal == "boxes" and len(found) < 2 and found[0].level == "error":
        rest = data_in(folder, batch_size=1, num_workers=0, check_files=limit, boxes="clip")
        found += data_findings(rest, limit)
    read_as = Finding("data", "ok", f"{folder} is read by {type(data).__name__}")
    return [read_as, *found]


def data_findings(data: LightningDataModule, limit: int = 500) -> list[Finding]:
    """Set up a data module, and judge its data.

    Args:
        data: Any data module.
        limit: Maximum number of images to read in each split.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            data.prepare_data()
            data.setup("fit")
            found = judge(survey(data, limit))
        except Exception as error:  # whatever the user's data module raises is the finding
            known = isinstance(error, (ValueError, OSError))
            text = str(error) if known else f"{type(error).__name__}: {error}"
            found = [Finding("data", "error", text)]
    texts = dict.fromkeys(str(each.message) for each in caught if _is_for_users(each.category))
    return [*found, *(Finding("data", "warning", text) for text in texts)]


def _is_for_users(category: type[Warning]) -> bool:
    return not issubclass(category, (DeprecationWarning, PendingDeprecationWarning, FutureWarning))


def judge(found: Survey) -> list[Finding]:
    """Judge a survey of the data."""
    findings = []
    for name, split in found.splits.items():
        findings += [*_of_counts(name, split), *_of_values(name, split)]
    if not found.splits:
        findings.append(Finding("data", "error", "the data module has no data for training"))
    for one, other in found.shared:
        text = f"{other} data are the {one} data, so its scores are not an independent test"
        findings.append(Finding("data", "note", text))
    findings += _of_repeats(found.repeated)
    train = found.splits.get("train")
    if train is not None and train.classes is not None:
        findings += _of_balance(train.classes)
    return findings


def _of_counts(name: str, split: SplitSurvey) -> Iterator[Finding]:
    if split.samples is None:
        yield Finding("data", "note", f"{name}: number of samples unknown, not looked at")
        return
    if split.samples == 0:
        yield Finding("data", "error", f"{name}: no samples", "check the paths and the split")
        return
    sizes = _sizes(split.sizes)
    read = len(split.images) + len(split.unreadable)
    part = f", {read} of them read" if read < split.samples else ""
    text = f"{name}: {counted(split.samples, 'sample')}{part}"
    yield Finding("data", "ok", f"{text}, {sizes}" if sizes else text)


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    if not sizes:
        return ""
    if len(sizes) == 1:
        ((height, width),) = sizes
        return f"all {height} x {width} pixels (H x W)"
    low, high = min(sizes, key=_area), max(sizes, key=_area)
    usual, count = sizes.most_common(1)[0]
    return (
        f"{len(sizes)} sizes from {low[0]} x {low[1]} to {high[0]} x {high[1]} pixels (H x W), "
        f"most often {usual[0]} x {usual[1]} ({count})"
    )


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _of_values(name: str, split: SplitSurvey) -> Iterator[Finding]:
    if split.is_without_images:
        yield Finding("data", "note", f"{name}: samples without images, whose values are unknown")
    elif split.unreadable:
        (_, reason), *_ = split.unreadable.items()
        number = counted(len(split.unreadable), "image")
        text = f"{name}: {number} cannot be read: {_some(split.unreadable)}: {reason}"
        yield Finding("data", "error", text, "replace or remove them")
    bad = [image for image, facts in split.images.items() if not facts.finite]
    if bad:
        text = f"{name}: NaN or infinity in {counted(len(bad), 'image')}: {_some(bad)}"
        yield Finding("data", "error", text, "replace these values, or remove the images")
    constant = [image for image, facts in split.images.items() if facts.constant]
    if constant:
        text = f"{name}: one value everywhere in {counted(len(constant), 'image')}"
        yield Finding("data", "warning", f"{text}: {_some(constant)}", "look at them")


def _of_repeats(pairs: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    split_of = [(one.partition(":")[0], other.partition(":")[0]) for one, other in pairs]
    across = [pair for pair, (a, b) in zip(pairs, split_of, strict=True) if a != b]
    within = [pair for pair, (a, b) in zip(pairs, split_of, strict=True) if a == b]
    if across:
        yield Finding(
            "data",
            "error",
            f"{counted(len(across), 'image')} in two splits: {_pairs(across)}",
            "keep each in one split: scores on images seen in training show nothing",
        )
    if within:
        text = f"{counted(len(within), 'image')} repeated within a split: {_pairs(within)}"
        yield Finding("data", "warning", text, "remove the repetitions, unless they are intended")


def _of_balance(classes: Mapping[str, int]) -> Iterator[Finding]:
    total = sum(classes.values())
    if not total:
        yield Finding("data", "error", "train: no class occurs", "check the labels")
        return
    shares = ", ".join(f"{name} {count / total:.1%}" for name, count in _most(classes))
    yield Finding("data", "ok", f"train, by class: {shares}")
    absent = [name for name, count in classes.items() if not count]
    if absent:
        yield Finding(
            "data", "warning", f"train: {_some(absent)} never occurs", "add examples, or remove it"
        )
    present = {name: count for name, count in classes.items() if count}
    rare, most = min(present, key=present.__getitem__), max(present, key=present.__getitem__)
    ratio = present[most] / present[rare]
    if ratio > _UNEVEN:
        yield Finding(
            "data",
            "warning",
            f"train: {most!r} occurs {ratio:.0f} times as often as {rare!r}",
            "sampler='balanced' of the data, class_weights='auto' of the task, or a Dice or focal "
            "loss counter this",
        )


def _most(classes: Mapping[str, int]) -> list[tuple[str, int]]:
    """All classes, or the most frequent and the rarest of many."""
    ordered = sorted(classes.items(), key=lambda item: -item[1])
    return ordered if len(ordered) <= 12 else [*ordered[:6], *ordered[-6:]]


def _some(names: Sequence[str] | Mapping[str, object]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return _some([f"{one} = {other}" for one, other in pairs])
