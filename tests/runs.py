"""Small runs for tests: a task, data and a Trainer that take well under a second."""

import re

from lightning import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_hparams import SegmentationTask, SyntheticShapesData

# A run of a segmentation task, as a configuration describes it.
SMALL_RUN = {
    "seed_everything": 3,
    "model": {"class_path": "SegmentationTask", "init_args": {"encoder": "tu-test_resnet"}},
    "data": {
        "class_path": "SyntheticShapesData",
        "init_args": {"size": 32, "num_train": 8, "num_val": 4, "batch_size": 4},
    },
    "trainer": {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "max_epochs": 1,
    },
}


def quiet_trainer(**options):
    defaults = {"max_epochs": 1, "logger": False, "enable_checkpointing": False}
    options = {"accelerator": "cpu", **defaults, **options}
    return Trainer(enable_progress_bar=False, enable_model_summary=False, **options)


def shapes(task="multiclass", **options):
    options = {"num_train": 16, "num_val": 6, "size": 32, "batch_size": 4, **options}
    return SyntheticShapesData(task=task, **options)


# A decoder so narrow that a step takes a few milliseconds.
SMALL = {"arch_args": {"decoder_channels": [16, 8, 8, 8, 8]}}


def matching(data, **options):
    return SegmentationTask(
        task=getattr(data, "task", "multiclass"),
        num_classes=data.num_classes,
        class_names=data.class_names,
        **{**SMALL, **options},
    )


_KINDS = ("images", "scalars", "histograms", "tensors")  # all points of each, not a sample


def read_events(folder):
    events = EventAccumulator(str(folder), size_guidance=dict.fromkeys(_KINDS, 0))
    events.Reload()
    return events


def documented(callback):
    """The tags in the table of a class docstring, as patterns."""
    rows = re.findall(r"^\s*\| (`.*?) \|", callback.__doc__, flags=re.MULTILINE)
    patterns = []
    for tag in (tag for row in rows for tag in re.findall(r"`(.*?)`", row)):
        pattern = ""
        for part in re.split(r"(\{.*?\})", tag):
            choice = part[1:-1].split(",") if part.startswith("{") else None
            if choice is None:
                pattern += re.escape(part)
            else:
                pattern += f"({'|'.join(choice)})" if len(choice) > 1 else ".+"
        patterns.append(pattern)
    return patterns
