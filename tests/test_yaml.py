"""Every argument of what users write into a configuration can be set from YAML, and comes back."""

import inspect
import sys

import pytest
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningCLI

from lightning_hparams import LRRangeTest, SegmentationTask, SyntheticShapesData
from lightning_hparams.losses import WeightedLoss
from tests.public_classes import CLASSES as PUBLIC_CLASSES

CLASSES = [*PUBLIC_CLASSES, WeightedLoss]
# Arguments without a default, and those whose default says nothing of their kind.
GIVEN = {
    "ParamScheduler": {"schedule": "cosine"},
    "WeightedLoss": {"losses": {"dice": 0.5}},
}
EDGE = {
    "LRRangeTest": [
        {"stage": "val", "val_batches": 3},
        {"param": "momentum", "values": [0.8, 0.9]},
        {"at_epochs": [0, 2], "probe_steps": 20, "attr": "optimizer.lr", "on_fail": "raise"},
        {"rule": "valley", "repeats": 2, "mode": "linear", "min_lr": 1e-3, "max_lr": 0.1},
        {"callbacks": [{"class_path": "lightning.pytorch.callbacks.BackboneFinetuning"}]},
    ],
    "OneCycle": [{"max_lr": [0.1, 0.2], "total_steps": 5, "cycle_momentum": True}],
    "Cyclic": [{"base_lr": 0.1, "max_lr": 0.2, "mode": "exp_range", "gamma": 0.9}],
    "MaskFolderData": [
        {
            "class_names": ["ground", "road"],
            "class_values": {"ground": 0, "road": 7},
            "size": [8, 8],
        },
        {"masks": "masks", "num_classes": 2, "class_values": [0, 255]},
    ],
    "ParamScheduler": [{"schedule": "polynomial", "schedule_args": {"power": 2.0}}],
}
# The words that YAML 1.1 takes for true and false, as it does `on: val` for {True: "val"}.
BOOLEANS = {"y", "n", "yes", "no", "on", "off", "true", "false"}


def required(kind):
    """Arguments without a default, with a value of their type."""
    parameters = inspect.signature(kind).parameters.values()
    named = (p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return {
        p.name: "folder" if "str" in str(p.annotation) else 3 for p in named if p.default is p.empty
    }


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_no_argument_is_a_word_that_yaml_reads_as_a_boolean(kind):
    assert not BOOLEANS & {name.lower() for name in inspect.signature(kind).parameters}


CASES = [
    pytest.param(kind, changed, id=f"{kind.__name__}-{'-'.join(changed) or 'plain'}")
    for kind in CLASSES
    for changed in [{}, *EDGE.get(kind.__name__, [])]
]


@pytest.mark.parametrize(("kind", "changed"), CASES)
def test_arguments_are_read_from_yaml_and_written_as_they_were_read(kind, changed):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "made")
    given = {**required(kind), **GIVEN.get(kind.__name__, {}), **changed}
    config = parser.parse_string(yaml.safe_dump({"made": given}))
    text = parser.dump(config)
    assert parser.dump(parser.parse_string(text)) == text
    written = (yaml.safe_load(text) or {}).get("made", {})
    settable = set(config.as_dict().get("made", {}))
    assert set(inspect.signature(kind).parameters) - {"args", "kwargs"} <= settable
    for name, value in given.items():
        if name != "callbacks":  # which are written with their arguments
            assert written[name] == value


@pytest.mark.filterwarnings("ignore:[\\s\\S]*was deprecated in v4")  # Lightning's own call
def test_the_command_line_of_lightning_makes_the_range_test_and_writes_it_back(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["train"])
    callbacks = [
        {
            "class_path": "lightning_hparams.LRRangeTest",
            "init_args": {"stage": "val", "num_steps": 12},
        }
    ]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks, "logger": False}}))
    cli = LightningCLI(
        SegmentationTask,
        SyntheticShapesData,
        run=False,
        args=["--config", str(path), "--model.num_classes=3", "--trainer.accelerator=cpu"],
        save_config_callback=None,
        seed_everything_default=0,
    )
    (made,) = (each for each in cli.trainer.callbacks if isinstance(each, LRRangeTest))
    assert (made.stage, made.num_steps) == ("val", 12)
    written = yaml.safe_load(cli.parser.dump(cli.config, skip_check=False))
    assert written["trainer"]["callbacks"][0]["init_args"]["stage"] == "val"
