"""Parts of ``pytorch_lightning`` are refused by name before training."""

import pytest
import torch
from lightning import Callback
from packaging.version import Version

import lightning_hparams
from lightning_hparams import OneCycle, lr_range_test
from tests.callbacks.schedule_runs import Line, batches
from tests.runs import quiet_trainer

pl = pytest.importorskip("pytorch_lightning")

OURS = [
    getattr(lightning_hparams.callbacks, name)
    for name in lightning_hparams.callbacks.__all__
    if isinstance(getattr(lightning_hparams.callbacks, name), type)
]
MESSAGE = r"is a callback for `lightning`, and {} comes from `pytorch_lightning`: two packages"


class Other(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def made(kind):
    arguments = {"ParamScheduler": ["cosine"], "PredictionWriter": ["masks"]}
    arguments["TrialPruning"] = ["loss", lambda step, value: False]
    return kind(*arguments.get(kind.__name__, []))


@pytest.mark.parametrize("kind", OURS)
def test_each_callback_refuses_a_trainer_of_the_other_package(kind):
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    callback = made(kind)
    if Version(pl.__version__) < Version("2.6"):
        with pytest.raises(ValueError, match="Expected a parent"):  # its own check
            pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[callback], **options)
        return
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[callback], **options)
    with pytest.raises(TypeError, match=MESSAGE.format("Trainer")):
        trainer.fit(Other(), batches())


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"callbacks": [pl.callbacks.Timer("00:00:01:00")]},
        lambda: {"callbacks": [pl.callbacks.GradientAccumulationScheduler({0: 2})]},
        lambda: {"logger": pl.loggers.CSVLogger(".")},
        lambda: {"strategy": pl.strategies.SingleDeviceStrategy("cpu")},
    ],
)
def test_a_part_of_the_other_package_is_refused(make):
    options = make()
    (part,) = options.get("callbacks") or [options.get("logger") or options.get("strategy")]
    options["callbacks"] = [*options.get("callbacks", []), OneCycle()]
    try:
        trainer = quiet_trainer(**options)
    except (TypeError, ValueError, RuntimeError) as error:  # Lightning refuses it by itself
        pytest.skip(str(error))
    with pytest.raises(TypeError, match=MESSAGE.format(type(part).__name__)):
        trainer.fit(Line(), batches())


def test_the_range_test_without_a_fit_refuses_a_module_of_the_other_package():
    words = "lr_range_test is for `lightning`, and Other comes from `pytorch_lightning`"
    with pytest.raises(TypeError, match=words):
        lr_range_test(Other(), batches())


def test_a_run_of_one_package_is_accepted():
    quiet_trainer(callbacks=[OneCycle(), Callback()]).fit(Line(), batches())
