"""A user's mistake is one sentence and exit code 2; a fault in code keeps its lines."""

import numpy as np
import pytest
from PIL import Image

from lightning_hparams.configuration import write_yaml


@pytest.fixture
def folder(tmp_path):
    """Images of two sizes, of which one has no mask."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index in range(4):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "images" / f"{index}.png")
    for index in range(3):
        Image.fromarray(np.full((16, 16), index, np.uint8)).save(tmp_path / f"masks/{index}.png")
    return tmp_path


FILES = [
    ("model: [", ["not valid YAML", "line 1"]),
    ("a: 1\na: 2", ["not valid YAML", "line 2", "'a'"]),
    ("just text", ["must hold a mapping", "just text"]),
    ("modle: {}", ["no part 'modle'", "'model'"]),
    ("trainer: {max_epoch: 3}", ["'max_epoch'", "'max_epochs'"]),
    ("trainer: {callbacks: [OneCicle]}", ["OneCicle", "'OneCycle'"]),
    ("trainer: {callbacks: [{class_path: OneCycle, init_args: {pct: 1}}]}", ["'pct'", "pct_start"]),
    ("model: SegmentationTusk", ["SegmentationTusk", "'SegmentationTask'"]),
    ("model: {class_path: SegmentationTask, init_args: {lrr: 1}}", ["'lrr'", "'lr'"]),
    ("model: {class_path: nowhere.Net}", ["no module 'nowhere'"]),
    ("model: {class_path: torch.nn.Linear}", ["must be a LightningModule", "torch.nn.Linear"]),
    ("data: {class_path: SegmentationTask}", ["must be a LightningDataModule", "SegmentationTask"]),
    ("model: {class_path: SegmentationTask, init_args: {lr: x}}", ["lr` must be a number", "'x'"]),
    ("trainer: {max_epochs: many}", ["max_epochs` must be a whole number or null", "'many'"]),
    ("seed_everything: first", ["`seed_everything` must be true or false or a whole number"]),
    (
        "data: {class_path: DigitsData, init_args: {root: x}}",
        ["'root'", "are 'augment'"],
    ),
    ("zzz: {}", ["no part 'zzz'; there are 'data'", "'trainer'"]),
    ("data: {class_path: DigitsData, zzz: 1}", ["no part 'zzz'", "'class_path'", "'init_args'"]),
    ("", ["fit.yaml is empty"]),
    ("trainer: {max_epochs: 1}", ["`model` must be given"]),
]


@pytest.mark.parametrize(("text", "words"), FILES)
def test_a_mistake_in_a_file_is_one_sentence(run, is_mistake, tmp_path, text, words):
    path = tmp_path / "fit.yaml"
    path.write_text(text)
    is_mistake(run("fit", "--config", path), words)


ARGUMENTS = [
    (["--config", "nowhere.yaml"], ["nowhere.yaml", "no such file"]),
    (["--confg", "fit.yaml"], ["no option --confg", "'--config'"]),
    (["--model.lrr=1"], ["no argument 'lrr'", "'lr'"]),
    (["--model.lr=x"], ["`model.init_args.lr` must be a number", "'x'"]),
    (["--model.freeze=enc"], ["one of ['none', 'encoder']", "'enc'"]),
    (["--model=SegmentationTusk"], ["SegmentationTusk", "'SegmentationTask'"]),
    (["--model=nowhere.Net"], ["no module 'nowhere'"]),
    (["--model=lightning.pytorch.demos.Net"], ["lightning.pytorch.demos has no Net"]),
    (["--model=ClassificationTask", "--data.task=detection"], ["does not fit Synth", "detection"]),
    (["--data=MaskFolderData"], ["`data.init_args.images` must be given"]),
    (["--data.images=x"], ["has no argument 'images'"]),
    (["--trainer.max_epochs=x"], ["`trainer.max_epochs` must be a whole number", "'x'"]),
    (["--trainer.max_epohcs=3"], ["--trainer.max_epohcs", "'--trainer.max_epochs'"]),
    (["--trainer.callbacks=OneCicle"], ["OneCicle", "'OneCycle'"]),
    (["--trainer.callbacks+=OneCycle", "--trainer.callbacks.pct=3"], ["'pct'", "'pct_start'"]),
    (["--trainer.accelerator=gpuu"], ["gpuu"]),
    (["--trainer.precision=3"], ["`trainer.precision`", "3"]),
    (["--trainer.devices=0"], ["devices"]),
    (["--trainer.max_epochs"], ["--trainer.max_epochs` needs a value"]),
    (["surplus"], ["no argument surplus"]),
    (["--ckpt_path=nowhere.ckpt"], ["nowhere.ckpt does not exist"]),
    (["--model.num_classes=7"], ["`num_classes`", "7 for SegmentationTask", "4 for Synthetic"]),
    (["--model.lr=-1"], ["`0.0 < lr", "-1"]),
    (["--model.encoder=resnet1888"], ["`encoder`", "resnet1888"]),
    (["--model.loss=dise"], ["dise", "'dice'"]),
    (["--model.optimizer=Adamm"], ["Adamm", "'Adam'"]),
    (["--model.optimizer_args={beta: 1}"], ["beta"]),
    (["--data.size=3"], ["`16 <= size", "3"]),
    (["--data.task=multi"], ["`data.init_args.task`", "'multi'"]),
    (["--data.batch_size=0"], ["batch_size", "0"]),
    (["--trainer.callbacks=OneCycle", "--trainer.callbacks.pct_start=2"], ["pct_start", "2"]),
    (
        ["--trainer.callbacks=LRRangeTest", "--trainer.callbacks.num_steps=3"],
        ["`10 <= num_steps`", "num_steps=3"],
    ),
]


@pytest.mark.parametrize(("args", "words"), ARGUMENTS, ids=lambda each: str(each)[:60])
def test_a_mistake_in_an_argument_is_one_sentence(run, is_mistake, config, args, words):
    is_mistake(run("fit", "--config", config, *args), words)


def test_an_argument_without_its_class_is_one_sentence(run, is_mistake):
    words = ["`data` must be given a class before its arguments: `--data CLASS`", "class_path"]
    is_mistake(run("fit", "--model=ClassificationTask", "--data.images=x"), words)


@pytest.mark.parametrize("key", ["data", "model"])
def test_a_folder_in_place_of_a_class_is_one_sentence(run, is_mistake, folder, key):
    words = [f"`{key}` must be the name of a class", str(folder)]
    is_mistake(run("fit", f"--{key}={folder}", "--trainer.max_epochs=1"), words)


@pytest.mark.parametrize("key", ["data", "model"])
def test_a_whole_configuration_in_place_of_a_part_is_one_sentence(run, is_mistake, config, key):
    is_mistake(run("fit", f"--{key}={config}"), [f"`{key}` must be one part", "--config"])


DATA = [
    ({"images": "nowhere", "masks": "masks"}, ["nowhere"]),
    ({"images": "images", "masks": "masks"}, ["3.png"]),
    ({"images": "images"}, ["mask"]),
]


@pytest.mark.parametrize(("init_args", "words"), DATA)
def test_a_mistake_in_the_data_is_one_sentence(
    run, is_mistake, config, given, folder, init_args, words
):
    data = {"class_path": "MaskFolderData", "init_args": {**init_args, "num_classes": 3}}
    config.write_text(write_yaml({**given, "data": data}))
    is_mistake(run("fit", "--config", config), words)


def test_a_file_that_is_not_a_checkpoint_is_one_sentence(run, is_mistake, config):
    is_mistake(run("test", "--config", config, "--ckpt_path", config), ["checkpoint", "fit.yaml"])


@pytest.mark.parametrize("command", ["fitt", "--confi", "lr_range_test"])
def test_an_unknown_command_is_one_sentence(run, is_mistake, command):
    is_mistake(run(command), [command])


def test_debug_shows_the_lines_of_a_mistake(run, is_mistake, config):
    code, _, err, errors = run("fit", "--debug", "--config", config, "--model.lr=-1")
    assert code == 2
    assert "Traceback" in err
    assert len(errors) == 1


NET = """
import lightning, torch
class Net(lightning.LightningModule):
    def __init__(self, broken: str = ""):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.broken = broken
        if broken == "init":
            raise ValueError("of their own")
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(4, 2))
    def training_step(self, batch, index):
        if self.broken == "step":
            return self.layer(batch[:, :1]).sum()
        return self.layer(batch).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
"""


@pytest.mark.parametrize(("where", "words"), [("init", "of their own"), ("step", "shapes")])
def test_a_fault_in_the_module_of_the_user_keeps_its_lines(
    run, is_mistake, config, given, tmp_path, monkeypatch, where, words
):
    (tmp_path / "their_faulty_net.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    model = {"class_path": "their_faulty_net.Net", "init_args": {"broken": where}}
    config.write_text(write_yaml({"model": model, "trainer": given["trainer"]}))
    code, _, err, errors = run("fit", "--config", config)
    assert code == 1
    assert "their_faulty_net.py" in err
    assert words in err
    assert errors == []


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "lr-range-test"])
def test_a_module_without_data_is_one_sentence(run, is_mistake, command):
    words = ["`--data` must be given", "Net has no", "dataloader"]
    is_mistake(run(command, "--model=tests.search.tiny.Net", "--trainer.max_epochs=1"), words)


def test_a_module_with_data_of_its_own_needs_none(run):
    module = "lightning.pytorch.demos.boring_classes.BoringModel"
    quiet = ["--trainer.logger=false", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"]
    assert run("validate", f"--model={module}", *quiet)[0] == 0
