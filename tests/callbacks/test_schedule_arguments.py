"""Arguments of the schedules: numbers of any library, lists, YAML, and invalid values."""

from functools import partial

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI
from torch.optim import lr_scheduler

from lightning_hparams import Cyclic, OneCycle, ParamScheduler
from lightning_hparams.schedules import cosine
from tests.callbacks.schedule_runs import Line, curve, first, fit, sgd

NUMBERS = [np.float64, np.float32, np.array, torch.tensor, float]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_may_come_from_any_library(number):
    one = OneCycle(number(0.25), pct_start=number(0.25), div_factor=number(8.0), total_steps=40)
    assert (
        one.preview(40)["lr"].tolist()
        == OneCycle(0.25, pct_start=0.25, div_factor=8.0, total_steps=40).preview(40)["lr"].tolist()
    )
    cyclic = Cyclic(number(0.25), number(0.5), step_size_up=number(4), gamma=number(1.0))
    assert cyclic.preview(40)["lr"].max() == 0.5
    shaped = ParamScheduler("warmup", schedule_args={"warmup": number(0.5)})
    assert shaped.preview(10)["lr"][0] == pytest.approx(0.04)


@pytest.mark.parametrize("whole", [np.int64, np.int32, np.array, torch.tensor])
def test_a_number_of_steps_may_come_from_any_library(whole):
    assert OneCycle(total_steps=whole(40)).total_steps == 40
    assert first(fit(callback=OneCycle(total_steps=whole(16))).rates) == pytest.approx(curve(16))


@pytest.mark.parametrize("listed", [np.array, torch.tensor, tuple, list])
def test_a_list_may_be_an_array_or_a_tuple(listed):
    rates = fit(callback=OneCycle(max_lr=listed([0.25, 0.5]))).rates
    assert [max(group) for group in zip(*rates, strict=True)] == [0.25, 0.5]
    assert OneCycle(total_steps=listed([8, 16])).total_steps == [8, 16]


def test_momenta_may_be_lists_with_a_value_per_group_as_in_torch():
    def torchs(optimizer):
        scheduler = lr_scheduler.OneCycleLR(
            optimizer, [0.1, 0.01], 40, base_momentum=[0.8, 0.7], max_momentum=[0.9, 0.85]
        )
        return {"scheduler": scheduler, "interval": "step"}

    theirs = fit(epochs=5, module=Line(sgd, scheduler=torchs), callback=Cyclic(override=True))
    callback = OneCycle(base_momentum=[0.8, 0.7], max_momentum=[0.9, 0.85])
    ours = fit(epochs=5, module=Line(sgd), callback=callback)
    assert [max(group) for group in zip(*ours.momenta, strict=True)] == [0.9, 0.85]
    assert [min(group) for group in zip(*ours.momenta, strict=True)] == [0.8, 0.7]
    assert theirs.rates


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (partial(OneCycle, float("inf")), ValueError, "`max_lr < inf` must hold"),
        (partial(OneCycle, float("nan")), ValueError, "must hold, got max_lr=nan"),
        (partial(OneCycle, "0.1"), TypeError, "`max_lr` must be a number, got '0.1'"),
        (partial(OneCycle, True), TypeError, "`max_lr` must be a number, got True"),
        (partial(OneCycle, {0: 0.1}), TypeError, "a list with one for each parameter group"),
        (partial(OneCycle, ["a"]), TypeError, "`max_lr` must be a number, got 'a'"),
        (partial(OneCycle, np.ones((2, 2))), TypeError, "`max_lr` must be a number"),
        (partial(Cyclic, 0.1, np.array([0.2, np.inf])), ValueError, "`max_lr < inf` must hold"),
        (partial(OneCycle, total_steps="9"), TypeError, "`total_steps` must be a whole number"),
        (partial(OneCycle, total_steps=True), TypeError, "`total_steps` must be a whole number"),
        (partial(OneCycle, pct_start="half"), TypeError, "`pct_start` must be a number"),
        (partial(OneCycle, pct_start=[0.3]), TypeError, "`pct_start` must be a number"),
        (partial(OneCycle, base_momentum=[0.8, 0.99]), ValueError, "`0.0 <= base_momentum <= 0.9"),
        (
            partial(OneCycle, base_momentum=[0.8], max_momentum=[0.9, 0.9]),
            ValueError,
            "must have the same length",
        ),
        (partial(OneCycle, cycle_momentum=2), ValueError, "must be True, False or 'auto'"),
        (partial(Cyclic, gamma="1", mode="exp_range"), TypeError, "`gamma` must be a number"),
        (partial(Cyclic, step_size_up="4"), TypeError, "`step_size_up` must be a number"),
        (partial(Cyclic, step_size_up=[4]), TypeError, "`step_size_up` must be a number"),
        (partial(ParamScheduler, lambda epoch: 0.5), TypeError, r"called as schedule\(step, total"),
        (partial(ParamScheduler, "cosine", 100), TypeError, "`param` must be a key .* got 100"),
        (partial(ParamScheduler, 0.5), TypeError, r"a function \(step, total\) -> multiplier"),
        (partial(ParamScheduler, None), TypeError, r"a function \(step, total\) -> multiplier"),
        (partial(ParamScheduler, OneCycle), TypeError, r"a function \(step, total\)"),
        (
            partial(ParamScheduler, lr_scheduler.CosineAnnealingLR),
            TypeError,
            "got torch's CosineAnnealingLR; return that from configure_optimizers",
        ),
        (
            partial(ParamScheduler, partial(lr_scheduler.StepLR, step_size=3)),
            TypeError,
            "got torch's StepLR",
        ),
        (
            partial(ParamScheduler, lr_scheduler.StepLR(torch.optim.SGD([torch.ones(1)]), 3)),
            TypeError,
            "got torch's StepLR",
        ),
        (
            partial(ParamScheduler, "cosine", schedule_args={"warm": 1}),
            TypeError,
            "unexpected keyword argument 'warm'",
        ),
        (
            partial(ParamScheduler, lambda s, t: float("nan")),
            ValueError,
            "must return finite numbers",
        ),
        (partial(ParamScheduler, "math.nothing"), ValueError, "cannot be imported"),
        (partial(ParamScheduler, "nowhere.nothing"), ValueError, "cannot be imported"),
    ],
)
def test_invalid_arguments_are_refused_with_a_clear_message(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_schedule_may_return_numpy_or_torch_numbers():
    for kind in (np.float32, np.array, torch.tensor):
        scheduler = ParamScheduler(lambda step, total, kind=kind: kind(1 / (1 + step)))
        rates = first(fit(callback=scheduler).rates)
        assert rates == pytest.approx([0.1 / (1 + step) for step in range(16)])


def test_a_momentum_list_that_does_not_fit_the_groups_is_refused():
    callback = OneCycle(base_momentum=[0.8] * 3)
    with pytest.raises(ValueError, match="must have a momentum for each of 2 parameter groups"):
        fit(module=Line(sgd), callback=callback)


# YAML

# Lightning 2.6 uses names that jsonargparse 4.49 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:(?s).*Jsonargparse", "ignore:(?s).*was deprecated in v4"
)

CALLBACKS = [
    ("ParamScheduler", {"schedule": "cosine"}),
    ("ParamScheduler", {"schedule": "lightning_hparams.schedules.cosine", "param": "lr"}),
    ("ParamScheduler", {"schedule": "warmup", "schedule_args": {"warmup": 5, "then": "cosine"}}),
    ("ParamScheduler", {"schedule": "linear", "total_steps": [8, 9], "on_resume": "strict"}),
    ("OneCycle", {"max_lr": 0.1, "cycle_momentum": True, "three_phase": True}),
    ("OneCycle", {"max_lr": [0.1, 0.2], "base_momentum": [0.8, 0.7]}),
    ("Cyclic", {"base_lr": [0.01, 0.001], "max_lr": [0.1, 0.01], "step_size_up": 4}),
    ("Cyclic", {"base_lr": 0.01, "max_lr": 0.1, "max_momentum": [0.9, 0.8]}),
    ("Cyclic", {"mode": "exp_range", "gamma": 0.99, "total_steps": 16}),
]


def as_yaml(name, arguments):
    callbacks = [{"class_path": f"lightning_hparams.{name}", "init_args": arguments}]
    return yaml.safe_dump({"trainer": {"callbacks": callbacks, "logger": False}})


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])


def parsed(text, tmp_path):
    path = tmp_path / "given.yaml"
    path.write_text(text)
    cli = LightningCLI(
        Line,
        run=False,
        args=[f"--config={path}"],
        save_config_callback=None,
        seed_everything_default=0,
    )
    return cli, cli.parser.dump(cli.config)


def public(callback):
    return {key: value for key, value in vars(callback).items() if not key.startswith(("_", "on_"))}


@pytest.mark.parametrize(("name", "arguments"), CALLBACKS)
def test_every_argument_survives_a_yaml_round_trip(name, arguments, tmp_path):
    cli, dumped = parsed(as_yaml(name, arguments), tmp_path)
    assert "Unable to serialize" not in dumped
    given = next(c for c in cli.trainer.callbacks if type(c).__name__ == name)
    again, dumped_again = parsed(dumped, tmp_path)
    assert dumped_again == dumped
    back = next(c for c in again.trainer.callbacks if type(c).__name__ == name)
    assert public(back) == public(given)
    for key, value in arguments.items():
        if key in public(given):
            assert getattr(given, key) == value
    assert given.preview(16)["lr"].tolist() == back.preview(16)["lr"].tolist()


def test_a_schedule_may_be_an_import_path():
    path = ParamScheduler("lightning_hparams.schedules.cosine")
    assert path.preview(9)["lr"].tolist() == ParamScheduler(cosine).preview(9)["lr"].tolist()
