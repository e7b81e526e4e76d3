"""MetricMonitor writes what Lightning does not, for any module, once."""

import re

import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from lightning_hparams import MetricMonitor, OneCycle
from tests.runs import matching, quiet_trainer, read_events, shapes


def run(module=None, data=None, logger=None, **options):
    data = data or shapes()
    logger = logger or TensorBoardLogger(".", default_hp_metric=False)
    options = {"max_epochs": 2, "log_every_n_steps": 2, "callbacks": [MetricMonitor()], **options}
    trainer = quiet_trainer(logger=logger, **options)
    module = module or matching(data)
    trainer.fit(module, data)
    return trainer, read_events(logger.log_dir)


def scalars(events):
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


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


def test_every_tag_of_the_table_is_written_and_no_other():
    data = shapes()
    trainer, _ = run(matching(data), data)
    trainer.test(trainer.lightning_module, data, verbose=False)
    tags = set(scalars(read_events(trainer.logger.log_dir))) - {"epoch"}
    patterns = documented(MetricMonitor)
    assert [tag for tag in tags if not any(re.fullmatch(p, tag) for p in patterns)] == []
    assert [p for p in patterns if not any(re.fullmatch(p, tag) for tag in tags)] == []


def test_nothing_is_written_twice():
    _, events = run()
    for tag, points in scalars(events).items():
        if tag != "epoch":  # Lightning writes it with each of its own events
            steps = [step for step, _ in points]
            assert len(set(steps)) == len(steps), tag


def test_terms_come_at_the_first_step_and_every_n():
    _, events = run()
    assert [step for step, _ in scalars(events)["loss/train/dice"]] == [1, 2, 4, 6, 8]


def test_the_rate_written_is_the_one_the_step_used():
    data = shapes()
    _, events = run(
        matching(data, lr=0.01, encoder_lr_mult=0.1), data, callbacks=[MetricMonitor(), OneCycle()]
    )
    from lightning_hparams.schedules import one_cycle

    values = scalars(events)
    for step, rate in values["lr/decoder"]:
        assert rate == pytest.approx(0.01 * one_cycle(step - 1, 8), rel=1e-5)
    assert values["lr/encoder"][0][1] == pytest.approx(values["lr/decoder"][0][1] / 10, rel=1e-5)


class Foreign(LightningModule):
    """A module of somebody else, which logs nothing, or in its own way."""

    def __init__(self, form="tensor", optimizers=1):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, 1) for _ in range(optimizers))
        self.form = form
        self.automatic_optimization = optimizers == 1

    def training_step(self, batch, batch_idx):
        losses = [layer(batch).square().mean() for layer in self.layers]
        if not self.automatic_optimization:
            for optimizer, loss in zip(self.optimizers(), losses, strict=True):
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return None
        if self.form == "logged":
            self.log("train_loss", losses[0])
        return {"loss": losses[0]} if self.form == "dict" else losses[0]

    def validation_step(self, batch, batch_idx):
        if self.form == "logged":
            self.log("val_loss", self.layers[0](batch).square().mean())

    def configure_optimizers(self):
        return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in self.layers]


def ones(count=8):
    loader = DataLoader([torch.ones(3)] * count, batch_size=1)

    class Data:
        pass

    return loader


def fit_foreign(module, **options):
    logger = TensorBoardLogger(".", default_hp_metric=False)
    options = {"log_every_n_steps": 2, "callbacks": [MetricMonitor()], **options}
    trainer = quiet_trainer(logger=logger, **options)
    trainer.fit(module, ones(), ones())
    return scalars(read_events(logger.log_dir))


@pytest.mark.parametrize("form", ["tensor", "dict", "logged"])
def test_any_module_gets_its_loss_and_rate(form):
    values = fit_foreign(Foreign(form))
    assert [step for step, _ in values["loss/train"]] == [1, 2, 4, 6, 8]
    assert values["lr/group 0"][0] == (1, pytest.approx(0.1))
    if form == "logged":
        assert len(values["val_loss"]) == 1  # Lightning's, and not ours too


def test_the_loss_is_not_divided_by_gradient_accumulation():
    plain = fit_foreign(Foreign(), limit_val_batches=0)["loss/train"][0][1]
    torch.manual_seed(0)
    module = Foreign()
    torch.manual_seed(0)
    again = Foreign()
    one = fit_foreign(module, limit_train_batches=4)["loss/train"][0]
    four = fit_foreign(again, limit_train_batches=4, accumulate_grad_batches=4)["loss/train"][0]
    assert plain > 0
    assert four == (1, pytest.approx(one[1]))


def test_several_optimizers_are_told_apart():
    values = fit_foreign(Foreign(optimizers=2))
    assert {tag for tag in values if tag.startswith("lr/")} == {"lr/0/group 0", "lr/1/group 0"}


def test_momentum_is_written_where_the_optimizer_has_one():
    data = shapes()
    _, events = run(
        matching(data, optimizer="SGD", optimizer_args={"momentum": 0.9}),
        data,
        callbacks=[MetricMonitor(), OneCycle()],
    )
    values = scalars(events)["momentum/decoder"]
    assert values[0] == (1, pytest.approx(0.95))
    assert min(value for _, value in values) == pytest.approx(0.85)
    assert fit_foreign(Foreign())["momentum/group 0"][0] == (1, 0.0)
    adam = scalars(run()[1])["momentum/decoder"]
    assert [value for _, value in adam] == pytest.approx([0.9] * len(adam))


def test_the_sanity_check_writes_nothing():
    _, events = run(max_epochs=0)
    assert scalars(events) == {}


def test_several_loggers_get_the_same(tmp_path):
    tensorboard = TensorBoardLogger(tmp_path, default_hp_metric=False)
    files = CSVLogger(tmp_path / "csv")
    data = shapes()
    quiet_trainer(
        logger=[tensorboard, files], callbacks=[MetricMonitor()], log_every_n_steps=2
    ).fit(matching(data), data)
    rows = (tmp_path / "csv" / "lightning_logs" / "version_0" / "scalars.csv").read_text()
    ours = {line.split(",")[1] for line in rows.splitlines()[1:]}
    assert "loss/train/ce" in ours
    assert ours <= set(scalars(read_events(tensorboard.log_dir)))


@pytest.mark.parametrize("options", [{"logger": False}, {"fast_dev_run": True}])
def test_without_a_logger_or_in_a_rehearsal_it_is_idle(options):
    data = shapes()
    quiet_trainer(callbacks=[MetricMonitor()], **options).fit(matching(data), data)


def test_a_resumed_run_goes_on_at_its_step(tmp_path):
    data = shapes()
    logger = TensorBoardLogger(tmp_path, version=0, default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[MetricMonitor()], log_every_n_steps=1)
    trainer.fit(matching(data), data)
    trainer.save_checkpoint("stop.ckpt")
    again = quiet_trainer(
        max_epochs=2, logger=logger, callbacks=[MetricMonitor()], log_every_n_steps=1
    )
    again.fit(matching(data), data, ckpt_path="stop.ckpt")
    steps = [step for step, _ in scalars(read_events(logger.log_dir))["loss/train/ce"]]
    assert steps == list(range(1, 9))
