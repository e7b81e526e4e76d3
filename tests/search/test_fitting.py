"""A search that does not fit its configuration is refused before anything is trained."""

import pytest

from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Choice, Float, Int, SearchSettings, Space, check_fit
from lightning_hparams.search.overriding import check_overriding

LR = "model.init_args.lr"
MOMENTUM = "model.init_args.optimizer_args.momentum"
CYCLE = "trainer.callbacks.OneCycle.init_args"
RATE = Float(1e-4, 1, log=True)


def settings(space, **changes):
    return SearchSettings(metric="loss/val", mode="min", space=Space(space), trials=5, **changes)


@pytest.fixture(scope="module")
def configuration():
    data = {"task": "classification", "size": 16, "num_train": 4, "num_val": 2, "batch_size": 2}
    model = {"model": "test_resnet", "num_classes": 3, "image_size": 16, "optimizer": "SGD"}
    return Configuration.load(
        {
            "model": {"class_path": "ClassificationTask", "init_args": model},
            "data": {"class_path": "SyntheticShapesData", "init_args": data},
            "trainer": {"max_epochs": 1, "callbacks": [{"class_path": "OneCycle"}]},
        }
    )


def test_a_space_that_fits_is_accepted(configuration):
    space = {
        LR: RATE,
        "model.init_args.optimizer": Choice(["SGD", "AdamW"], prior="SGD"),
        "model.init_args.label_smoothing": Float(0, 0.2),
        "model.init_args.class_weights": Choice([None, "auto"]),
        "model.init_args.optimizer_args.nesterov": Choice(
            [True, False], when={"model.init_args.optimizer": "SGD"}
        ),
        f"{CYCLE}.pct_start": Float(0.1, 0.5),
        "trainer.max_epochs": Int(1, 3),
        "data.batch_size": Choice([2, 4]),
    }
    check_fit(settings(space, presets=[{"trainer.max_epochs": 2}]), configuration)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"model.init_args.lrr": RATE}, "lr"),
        ({"trainer.callbacks.OneCycl.init_args.pct_start": Float(0, 1)}, "OneCycle"),
        ({"trainer.max_epoch": Int(1, 3)}, "max_epochs"),
        ({"trainer.max_epochs": Float(1, 3)}, "max_epochs"),
        ({"trainer.max_epochs": Choice([1, "many"])}, "max_epochs"),
        ({"model.init_args.label_smoothing": Choice(["a", "b"])}, "label_smoothing"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(configuration, space, words):
    with pytest.raises(ValueError, match=words):
        check_fit(settings(space), configuration)


def callbacks(**arguments):
    return {
        "trainer": {
            "callbacks": [
                {"class_path": f"lightning_hparams.{name}", "init_args": values}
                for name, values in arguments.items()
            ]
        }
    }


@pytest.mark.parametrize(
    ("space", "changes", "data", "words"),
    [
        ({LR: RATE}, {"lr_range_test": "suggestion"}, callbacks(), "'factor'"),
        ({"a.b": RATE}, {"lr_range_test": "factor"}, callbacks(), "learning rate in `space`"),
        ({LR: RATE}, {}, callbacks(OneCycle={"max_lr": 0.1}), "peaks at the optimizer's rate"),
        ({LR: RATE}, {}, callbacks(Cyclic={"base_lr": 0.1}), "base_lr"),
        ({LR: RATE, f"{CYCLE}.max_lr": RATE}, {}, callbacks(OneCycle={}), "leave out one"),
        (
            {"a.b": RATE},
            {"lr_range_test": "suggestion"},
            callbacks(OneCycle={"max_lr": 0.1}),
            "the suggestion",
        ),
        ({MOMENTUM: Float(0.5, 0.9)}, {}, callbacks(OneCycle={}), "cycle_momentum"),
        ({MOMENTUM: Float(0.5, 0.9)}, {}, callbacks(Cyclic={"cycle_momentum": True}), "Cyclic"),
        (
            {f"{CYCLE}.base_momentum": Float(0.5, 0.9)},
            {},
            callbacks(OneCycle={"cycle_momentum": False}),
            "no effect",
        ),
        (
            {"model.init_args.weight_decay": Float(0, 1)},
            {},
            callbacks(LRRangeTest={"param": "weight_decay"}),
            "LRRangeTest would replace",
        ),
        ({LR: RATE}, {}, callbacks(LearningRateFinder={}), "LearningRateFinder"),
        ({"data.batch_size": Int(1, 9)}, {}, callbacks(BatchSizeFinder={}), "BatchSizeFinder"),
        ({"seed_everything": Int(0, 9)}, {}, callbacks(), "study's seed"),
        ({"trainer.logger": Choice([True, False])}, {}, callbacks(), "logger of its own"),
        ({"trainer.default_root_dir": Choice(["a"])}, {}, callbacks(), "set `folder`"),
    ],
)
def test_a_sampled_value_is_not_replaced_in_silence(space, changes, data, words):
    with pytest.raises(ValueError, match=words):
        check_overriding(settings(space, **changes), data)


@pytest.mark.parametrize(
    ("space", "changes", "data"),
    [
        ({LR: RATE}, {}, callbacks(LRRangeTest={}, OneCycle={})),
        ({LR: RATE}, {"lr_range_test": "off"}, callbacks(LRRangeTest={})),
        ({LR: RATE}, {"lr_range_test": "factor"}, callbacks(LRRangeTest={}, OneCycle={})),
        ({"a.b": RATE}, {"lr_range_test": "suggestion"}, callbacks(OneCycle={})),
        ({f"{CYCLE}.max_lr": RATE}, {}, callbacks(OneCycle={"max_lr": 0.1})),
        ({MOMENTUM: Float(0.5, 0.9)}, {}, callbacks(OneCycle={"cycle_momentum": False})),
        ({f"{CYCLE}.base_momentum": Float(0.5, 0.9)}, {}, callbacks(OneCycle={})),
        ({LR: RATE}, {}, {"trainer": {"callbacks": None}}),
    ],
)
def test_a_sampled_value_that_is_trained_with_is_accepted(space, changes, data):
    check_overriding(settings(space, **changes), data)
