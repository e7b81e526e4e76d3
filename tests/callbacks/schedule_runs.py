"""Small runs that record their rates at each step."""

from types import SimpleNamespace

import torch
from lightning import Callback, LightningModule
from torch.utils.data import DataLoader

from lightning_hparams import OneCycle
from lightning_hparams.schedules import one_cycle
from tests.runs import quiet_trainer

MID_EPOCH = "ignore:You're resuming from a checkpoint that ended before the epoch"


def sgd(groups):
    return torch.optim.SGD(groups, momentum=0.9)


class Line(LightningModule):
    """Two parameter groups whose rates differ by a factor of ten."""

    def __init__(self, optimizer=torch.optim.AdamW, scheduler=None, manual=False, lr=0.1):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.lr = lr
        self.automatic_optimization = not manual

    def loss(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch, batch_idx)
        if self.automatic_optimization:
            return loss
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return None

    def configure_optimizers(self):
        groups = [
            {"params": [self.layer.weight], "lr": self.lr},
            {"params": [self.layer.bias], "lr": self.lr / 10},
        ]
        optimizer = self.optimizer(groups)
        if self.scheduler is None:
            return optimizer
        return [optimizer], [self.scheduler(optimizer)]


class Two(LightningModule):
    """Two optimizers, the second of which steps ``often`` times a batch, or every ``rare``-th."""

    def __init__(self, often=1, rare=1):
        super().__init__()
        self.automatic_optimization = False
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, 1) for _ in range(2))
        self.often, self.rare = often, rare

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        times = self.often if batch_idx % self.rare == 0 else 0
        for optimizer, layer in [(first, self.layers[0]), *[(second, self.layers[1])] * times]:
            optimizer.zero_grad()
            self.manual_backward(layer(batch).square().mean())
            optimizer.step()

    def configure_optimizers(self):
        rates = zip(self.layers, (0.1, 0.4), strict=True)
        return [torch.optim.SGD(layer.parameters(), lr=lr) for layer, lr in rates]


class Seen(Callback):
    """Records the values of the parameter groups at each step of each optimizer."""

    def __init__(self, param="lr"):
        self.param = param
        self.seen = {}

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        number = trainer.optimizers.index(optimizer)
        values = [group[self.param] for group in optimizer.param_groups]
        self.seen.setdefault(number, []).append(values)


class SaveEach(Callback):
    """Saves a checkpoint after each step."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        path = self.folder / f"{trainer.global_step}.ckpt"
        if not path.exists():
            trainer.save_checkpoint(path)


def batches(count=8):
    # All alike, since Lightning does not restore a loader to the middle of an epoch.
    return DataLoader([torch.tensor([1.0, -2.0, 0.5])] * count, batch_size=1)


def fit(
    *,
    epochs=2,
    module=None,
    callback=None,
    also=(),
    loader=None,
    val_dataloaders=None,
    ckpt_path=None,
    **options,
):
    """A fitted module, and the rates and momenta (of Adam: betas) of its first optimizer."""
    torch.manual_seed(0)
    module = module or Line()
    rates, momenta = Seen(), Seen("momentum" if module_has_momentum(module) else "lr")
    callbacks = [rates, momenta, OneCycle() if callback is None else callback, *also]
    trainer = quiet_trainer(max_epochs=epochs, callbacks=callbacks, **options)
    loader = batches() if loader is None else loader
    trainer.fit(module, loader, val_dataloaders, ckpt_path=ckpt_path)
    return SimpleNamespace(
        module=module,
        trainer=trainer,
        rates=rates.seen.get(0, []),
        momenta=momenta.seen.get(0, []),
        all_rates=rates.seen,
    )


def module_has_momentum(module):
    return getattr(module, "optimizer", None) is sgd


def weights(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def equal(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def curve(total, peak=0.1, schedule=one_cycle):
    return [peak * schedule(step, total) for step in range(total)]


def first(rates):
    return [rate for rate, *_ in rates]
