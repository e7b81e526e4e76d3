"""Configurations as in the usual Hydra templates: partial optimizers, groups of callbacks."""

import pytest
import torch
from lightning import Callback, LightningModule

from lightning_hparams import LRRangeTest
from tests.pages import Plain
from tests.runs import quiet_trainer

hydra = pytest.importorskip("hydra.utils", reason="hydra-core is not installed")


class Classifier(LightningModule):
    """As in the template: the optimizer is a partial that takes the parameters."""

    def __init__(self, net, optimizer, lr=None):
        super().__init__()
        self.save_hyperparameters("optimizer", logger=False)
        self.net = net
        if lr is not None:
            self.lr = lr

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.net(batch[0].flatten(1)), batch[1])

    def configure_optimizers(self):
        given = {"lr": self.lr} if hasattr(self, "lr") else {}
        return self.hparams["optimizer"](params=self.parameters(), **given)


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append(optimizer.param_groups[0]["lr"])


def configuration(**model):
    return {
        "model": {
            "_target_": f"{__name__}.Classifier",
            "net": {"_target_": "torch.nn.Linear", "in_features": 192, "out_features": 2},
            "optimizer": {
                "_target_": "torch.optim.AdamW",
                "_partial_": True,
                "lr": 0.002,
                "weight_decay": 0.01,
            },
            **model,
        },
        "callbacks": {
            "range_test": {"_target_": "lightning_hparams.LRRangeTest", "num_steps": 60},
            "one_cycle": {"_target_": "lightning_hparams.OneCycle"},
            "recorder": {"_target_": "lightning_hparams.RunRecorder"},
        },
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", [{"lr": 0.002}, {}], ids=["lr beside the partial", "lr inside"])
def test_the_suggestion_is_the_peak_of_a_partial_optimizer(model):
    made = hydra.instantiate(configuration(**model), _convert_="partial")
    callbacks = list(made["callbacks"].values())
    rates = Rates()
    quiet_trainer(max_epochs=3, callbacks=[*callbacks, rates]).fit(made["model"], Plain())
    result = next(each for each in callbacks if isinstance(each, LRRangeTest)).result
    assert result.applies
    assert max(rates.seen) == pytest.approx(result.suggestion)
