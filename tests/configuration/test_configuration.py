"""A configuration as a value: read, checked, changed, built and written."""

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_hparams import OneCycle, SegmentationTask
from lightning_hparams.configuration import Configuration, ConfigurationError, write_yaml
from tests.runs import SMALL_RUN

GIVEN = {
    **SMALL_RUN,
    "trainer": {
        **SMALL_RUN["trainer"],
        "callbacks": [
            {"class_path": "OneCycle", "init_args": {"pct_start": 0.2}},
            "lightning.pytorch.callbacks.Timer",
        ],
    },
}


@pytest.fixture
def configuration():
    return Configuration.load(GIVEN)


def test_short_names_stand_for_the_classes_of_this_package(configuration):
    assert configuration.data["model"]["class_path"] == "lightning_hparams.SegmentationTask"
    assert configuration.data["data"]["class_path"] == "lightning_hparams.SyntheticShapesData"


def test_defaults_are_filled_in(configuration):
    assert configuration.data["trainer"]["accumulate_grad_batches"] == 1
    assert configuration.value("model.init_args.lr") == 1e-3
    assert "lr" not in configuration.given["model"]["init_args"]


def test_what_is_written_is_read_as_it_was(configuration, tmp_path):
    configuration.save(tmp_path / "config.yaml")
    again = Configuration.load(tmp_path / "config.yaml")
    assert again == configuration
    assert hash(again) == hash(configuration)
    assert again.to_yaml() == configuration.to_yaml()


def test_callbacks_are_addressed_by_their_class(configuration):
    key = "trainer.callbacks.OneCycle.init_args.pct_start"
    assert configuration.value(key) == 0.2
    changed = configuration.with_values({key: 0.4, "model.lr": 0.01})
    assert (changed.value(key), changed.value("model.init_args.lr")) == (0.4, 0.01)
    assert configuration.value(key) == 0.2  # the first one did not change
    assert changed != configuration


def test_a_callback_can_be_taken_away(configuration):
    left = configuration.without_callback("OneCycle").data["trainer"]["callbacks"]
    assert [each["class_path"] for each in left] == ["lightning.pytorch.callbacks.Timer"]
    with pytest.raises(ConfigurationError, match=r"names OneCycl, .* did you mean 'OneCycle'"):
        configuration.without_callback("OneCycl")


def test_a_callback_is_found_by_its_class(configuration):
    assert configuration.has_callback("OneCycle")
    assert configuration.has_callback("Timer")
    assert not configuration.has_callback("Callback")
    assert not Configuration(SMALL_RUN).has_callback("OneCycle")


def test_none_brings_back_the_default(configuration):
    changed = configuration.with_values({"model.lr": 0.5})
    assert changed.with_values({"model.lr": None}).value("model.lr") == 1e-3


def test_another_class_starts_with_its_own_arguments(configuration):
    changed = configuration.with_values({"model.class_path": "ClassificationTask"})
    assert changed.value("model.class_path") == "lightning_hparams.ClassificationTask"
    assert changed.given["model"].get("init_args", {}) == {}


def test_two_callbacks_of_a_class_are_told_apart_by_their_index(configuration):
    given = configuration.given
    path = "lightning.pytorch.callbacks.ModelCheckpoint"
    given["trainer"]["callbacks"] = [{"class_path": path}, {"class_path": path}]
    given["trainer"]["enable_checkpointing"] = True
    two = Configuration.load(given)
    with pytest.raises(ConfigurationError, match=r"2 are of that class; .*: 0 or 1"):
        two.check_key("trainer.callbacks.ModelCheckpoint.save_top_k")
    assert (
        two.with_values({"trainer.callbacks.1.save_top_k": 2}).value(
            "trainer.callbacks.1.init_args.save_top_k"
        )
        == 2
    )


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("model.lrr", "model.init_args.lr"),
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("trainer.callbacks.OneCycle.pct_stat", "trainer.callbacks.OneCycle.init_args.pct_start"),
        ("modle.class_path", "model.class_path"),
    ],
)
def test_an_unknown_key_is_an_error_with_the_nearest_ones(configuration, key, nearest):
    with pytest.raises(ConfigurationError, match=f"`{key}` is not a key .* '{nearest}'"):
        configuration.check_key(key)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.lr", "high", "`model.init_args.lr` must be a number, got 'high'"),
        ("model.freeze", "encodr", r"must be one of \['none', 'encoder'\].* mean 'encoder'"),
        ("trainer.max_epochs", "many", "`trainer.max_epochs` must be a whole number or null"),
        ("trainer.callbacks.OneCycle.pct_start", "x", r"OneCycle.init_args.pct_start` must be"),
        ("model.class_path", "SegmentationTusk", "did you mean 'SegmentationTask'"),
        ("model.class_path", "torch.nn.Linear", "must be a LightningModule, got torch.nn.Linear"),
        ("model.class_path", "nowhere.Net", "there is no module 'nowhere'"),
        ("model.class_path", "lightning_hparams.tasks.Net", "lightning_hparams.tasks has no Net"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_in_one_line(configuration, key, value, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        configuration.check_value(key, value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"modle": {}}, "no part 'modle'; did you mean 'model'"),
        ({"model": {"initargs": {}, **GIVEN["model"]}}, "no part 'initargs'.*'init_args'"),
        ({"trainer": {"max_epoch": 3}}, "`trainer` has no argument 'max_epoch'.*'max_epochs'"),
        ({"trainer": {"callbacks": ["OneCicle"]}}, "the class OneCicle, .* mean 'OneCycle'"),
        ({"trainer": {"callbacks": ["SegmentationTask"]}}, "must be a Callback, got Segm"),
        ({"model": {"class_path": "SegmentationTask", "init_args": {"lrr": 1}}}, "mean 'lr'"),
        ({"model": 3}, "`model`"),
        ({}, "`model` must be given"),
    ],
)
def test_a_mistake_is_an_error_in_one_line(given, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        Configuration.load(given)
    assert "\n" not in str(caught.value)


def test_later_sources_and_overrides_change_earlier_ones(tmp_path):
    (tmp_path / "first.yaml").write_text(write_yaml(GIVEN))
    (tmp_path / "second.yaml").write_text("model: {init_args: {lr: 0.5, freeze: encoder}}")
    merged = Configuration.load(
        tmp_path / "first.yaml", str(tmp_path / "second.yaml"), overrides={"model.lr": 0.25}
    )
    assert merged.value("model.encoder") == "tu-test_resnet"
    assert (merged.value("model.lr"), merged.value("model.freeze")) == (0.25, "encoder")


def test_an_error_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "fit.yaml"
    with pytest.raises(
        ConfigurationError, match=r"fit\.yaml cannot be read: there is no such file"
    ):
        Configuration.load(path)
    path.write_text("trainer:\n  max_epoch: 3\n")
    with pytest.raises(ConfigurationError, match=r"fit\.yaml: `trainer` has no argument"):
        Configuration.load(path)
    path.write_text("- 3")
    with pytest.raises(ConfigurationError, match=r"fit\.yaml must hold a mapping, got \[3\]"):
        Configuration.load(path)


def test_the_section_of_a_command_is_read_too(configuration):
    assert Configuration.load({"fit": {**GIVEN, "ckpt_path": None}}) == configuration


def test_a_task_takes_over_what_its_data_know(configuration):
    built = configuration.build()
    assert built.module.num_classes == built.data.num_classes == 4
    assert built.module.class_names == built.data.class_names
    assert built.module.hparams["num_classes"] == 4  # for a checkpoint
    assert "num_classes" not in configuration.data["model"]["init_args"]


def test_arguments_given_twice_and_unlike_are_one_error_that_names_both(configuration):
    with pytest.raises(ConfigurationError, match="got 2 for SegmentationTask and 4 for Synth"):
        configuration.with_values({"model.num_classes": 2}).build()  # 2 is the task's default too
    assert configuration.with_values({"model.num_classes": 4}).build().module.num_classes == 4


def test_data_set_the_mean_unless_pretrained_weights_do(configuration):
    digits = {"class_path": "DigitsData", "init_args": {}}
    model = {"class_path": "ClassificationTask", "init_args": {"model": "test_resnet"}}
    built = Configuration.load({**GIVEN, "model": model, "data": digits}).build()
    assert built.module.mean.flatten().tolist() == pytest.approx([0.31])
    assert built.module.num_classes == 10


def test_a_module_of_the_user_keeps_its_own_arguments(configuration, monkeypatch, tmp_path):
    (tmp_path / "their_net.py").write_text(
        "import lightning, torch\n"
        "class Net(lightning.LightningModule):\n"
        "    def __init__(self, num_classes: int = 2):\n"
        "        super().__init__()\n"
        "        self.num_classes = num_classes\n"
        "        self.layer = torch.nn.Linear(2, num_classes)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    given = {**GIVEN, "model": {"class_path": "their_net.Net"}}
    given["optimizer"] = {"class_path": "SGD", "init_args": {"lr": 0.125}}
    built = Configuration.load(given).build()
    assert built.module.num_classes == 2
    assert built.module.configure_optimizers().param_groups[0]["lr"] == 0.125


def test_an_error_within_a_module_of_the_user_stays_as_it_is(monkeypatch, tmp_path):
    (tmp_path / "their_broken.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        Configuration.load({**GIVEN, "model": {"class_path": "their_broken.Net"}})


def test_building_twice_makes_the_same_weights(configuration):
    first, second = configuration.build(), configuration.build()
    assert first.seed == 3
    for name, value in first.module.state_dict().items():
        assert torch.equal(value, second.module.state_dict()[name])


def test_a_run_gets_its_own_folder_callbacks_and_logger(configuration, tmp_path):
    added = ModelCheckpoint(tmp_path)
    built = configuration.with_values({"trainer.enable_checkpointing": True}).build(
        root=tmp_path, callbacks=[added], logger=False
    )
    assert built.trainer.default_root_dir == str(tmp_path)
    assert added in built.trainer.callbacks
    assert any(isinstance(each, OneCycle) for each in built.trainer.callbacks)
    assert isinstance(built.module, SegmentationTask)


def test_secrets_are_left_out_of_what_is_written(configuration):
    logger = {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {"save_dir": "runs", "name": "token=abcdefgh1234"},
    }
    text = configuration.with_values({"trainer.logger": logger}).to_yaml()
    assert "abcdefgh1234" not in text
    assert yaml.safe_load(text)["trainer"]["logger"]["init_args"]["save_dir"] == "runs"


def test_a_logger_that_is_replaced_is_not_made(tmp_path, monkeypatch):
    """MLflow's would create a database, or refuse its default address."""
    monkeypatch.chdir(tmp_path)
    made = {"class_path": "lightning.pytorch.loggers.MLFlowLogger"}
    configuration = Configuration.load({**GIVEN, "trainer": {**GIVEN["trainer"], "logger": made}})
    assert configuration.build(logger=False).trainer.loggers == []
