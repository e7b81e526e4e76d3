"""MetricMonitor writes whatever Lightning does not, once, for any module."""

import contextlib
import enum
import math
import re
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.functional.classification import multiclass_calibration_error

from lightning_hparams import MetricMonitor, OneCycle, SpeedMonitor
from lightning_hparams.callbacks._confusion import Confusion
from lightning_hparams.metrics import ValueCounts
from lightning_hparams.sinks import TensorBoardSink
from tests.runs import documented, matching, quiet_trainer, read_events, shapes


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


def every_tag(folder):
    events = read_events(folder)
    kinds = ("scalars", "images", "histograms", "tensors")
    return {tag for kind in kinds for tag in events.Tags()[kind]}


def test_exactly_the_tags_of_the_table_are_written():
    data = shapes()
    monitor = MetricMonitor(histograms=True, pr_curves=True, calibration=True, max_classes=3)
    task = matching(data)
    task.val_pairs = ValueCounts(1)  # of a regression
    task.val_pairs.update(torch.rand(3, 1), torch.rand(3, 1))
    trainer, _ = run(task, data, callbacks=[monitor])
    trainer.test(trainer.lightning_module, data, verbose=False)
    tags = every_tag(trainer.logger.log_dir) - {"epoch", "custom_scalars__config__"}
    patterns = documented(MetricMonitor)
    assert [tag for tag in tags if not any(re.fullmatch(p, tag) for p in patterns)] == []
    assert [p for p in patterns if not any(re.fullmatch(p, tag) for tag in tags)] == []


def test_losses_terms_and_scores_share_the_step_axis():
    _, events = run()
    values = {tag: [step for step, _ in points] for tag, points in scalars(events).items()}
    assert values["loss/train"] == values["loss/train/ce"] == values["loss/train/dice"]
    assert values["loss/train"] == [0, 1, 3, 5, 7]
    for tag in (
        "loss/val",
        "loss/val/ce",
        "metric/miou/val",
        f"class/iou/{shapes().class_names[1]}/val",
    ):
        assert values[tag] == [3, 7], tag  # after four steps and after eight
    assert values["best/loss/val"] == [3, 7]


def test_nothing_is_written_twice():
    _, events = run()
    for tag, points in scalars(events).items():
        if tag != "epoch":  # Lightning writes it with each of its own events
            steps = [step for step, _ in points]
            assert len(set(steps)) == len(steps), tag


def test_terms_are_written_at_the_first_step_and_every_n_steps():
    _, events = run()
    assert [step for step, _ in scalars(events)["loss/train/dice"]] == [0, 1, 3, 5, 7]


def test_the_rate_written_is_the_one_used_by_the_step():
    data = shapes()
    _, events = run(
        matching(data, lr=0.01, encoder_lr_mult=0.1), data, callbacks=[MetricMonitor(), OneCycle()]
    )
    from lightning_hparams.schedules import one_cycle

    values = scalars(events)
    for step, rate in values["lr/decoder"]:
        assert rate == pytest.approx(0.01 * one_cycle(step, 8), rel=1e-5)
    assert values["lr/encoder"][0][1] == pytest.approx(values["lr/decoder"][0][1] / 10, rel=1e-5)


class Foreign(LightningModule):
    """A third-party module, which logs nothing or in its own way."""

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
    assert [step for step, _ in values["loss/train"]] == [0, 1, 3, 5, 7]
    assert values["lr/group 0"][0] == (0, pytest.approx(0.1))
    if form == "logged":
        assert len(values["val_loss"]) == 1  # written by Lightning alone


def test_the_loss_is_not_divided_by_gradient_accumulation():
    plain = fit_foreign(Foreign(), limit_val_batches=0)["loss/train"][0][1]
    torch.manual_seed(0)
    module = Foreign()
    torch.manual_seed(0)
    again = Foreign()
    one = fit_foreign(module, limit_train_batches=4)["loss/train"][0]
    four = fit_foreign(again, limit_train_batches=4, accumulate_grad_batches=4)["loss/train"][0]
    assert plain > 0
    assert four == (0, pytest.approx(one[1]))


def test_several_optimizers_are_numbered():
    values = fit_foreign(Foreign(optimizers=2))
    assert {tag for tag in values if tag.startswith("lr/")} == {"lr/0/group 0", "lr/1/group 0"}


def test_momentum_is_written_if_the_optimizer_has_one():
    data = shapes()
    _, events = run(
        matching(data, optimizer="SGD", optimizer_args={"momentum": 0.9}),
        data,
        callbacks=[MetricMonitor(), OneCycle()],
    )
    values = scalars(events)["momentum/decoder"]
    assert values[0] == (0, pytest.approx(0.95))
    assert min(value for _, value in values) == pytest.approx(0.85)
    assert fit_foreign(Foreign())["momentum/group 0"][0] == (0, 0.0)
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
def test_without_a_logger_or_in_a_rehearsal_it_writes_nothing(options, tmp_path, monkeypatch):
    data, written = shapes(), []
    for method in ("scalars", "image", "histogram", "layout", "flush"):
        monkeypatch.setattr(
            TensorBoardSink, method, lambda *_, method=method: written.append(method)
        )
    options = {"logger": TensorBoardLogger("."), **options}
    monitor = MetricMonitor(histograms=True, pr_curves=True)
    quiet_trainer(callbacks=[monitor], **options).fit(matching(data), data)
    assert written == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_resumed_run_continues_at_its_step(tmp_path):
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
    assert steps == list(range(8))


def test_a_validation_is_written_once_even_if_the_run_is_resumed(tmp_path):
    data = shapes()
    logger = TensorBoardLogger(tmp_path, version=0, default_hp_metric=False)
    first = quiet_trainer(logger=logger, callbacks=[MetricMonitor()], log_every_n_steps=1)
    first.fit(matching(data), data)
    first.save_checkpoint("stop.ckpt")
    best = scalars(read_events(logger.log_dir))["best/loss/val"][0][1]
    again = quiet_trainer(max_epochs=2, logger=logger, callbacks=[MetricMonitor()])
    again.fit(matching(data, lr=10.0), data, ckpt_path="stop.ckpt")
    values = scalars(read_events(logger.log_dir))
    assert [step for step, _ in values["loss/val/ce"]] == [3, 7]
    last = values["best/loss/val"][-1]
    assert last == (7, pytest.approx(min(best, values["loss/val"][-1][1])))


def test_the_best_loss_is_the_lowest_and_the_best_score_the_highest():
    _, events = run(max_epochs=3)
    values = scalars(events)
    for tag, better in (("loss/val", min), ("metric/miou/val", max)):
        series = [value for _, value in values[tag]]
        assert [value for _, value in values[f"best/{tag}"]] == pytest.approx(
            [better(series[: n + 1]) for n in range(len(series))]
        )
    assert not [tag for tag in values if tag.startswith(("best/class", "best/loss/val/"))]


def test_metrics_of_any_module_have_a_best_value():
    values = fit_foreign(Foreign("logged"), max_epochs=2)
    assert len(values["best/val_loss"]) == 2
    assert "best/train_loss" not in values


def test_norms_are_those_of_weights_and_gradients():
    module = Foreign()
    weight = module.layers[0].weight.detach().clone()
    bias = module.layers[0].bias.detach().clone()
    values = fit_foreign(module)
    assert values["norm/weight/group 0"][0][1] == pytest.approx(
        math.hypot(*weight.flatten().tolist(), *bias.tolist()), rel=1e-5
    )
    slope = 2 * float((weight.sum() + bias).item())  # of the squared sum of three ones and a bias
    assert values["norm/grad/group 0"][0][1] == pytest.approx(abs(slope) * 2, rel=1e-5)
    off = fit_foreign(Foreign(), callbacks=[MetricMonitor(norms=False)])
    assert not [tag for tag in off if tag.startswith("norm/")]


def test_more_classes_than_max_classes_are_reported_once(caplog):
    data = shapes()
    with caplog.at_level("INFO"):
        _, events = run(matching(data), data, callbacks=[MetricMonitor(max_classes=2)])
    tags = {tag for tag in scalars(events) if tag.startswith("class/iou/")}
    assert len(tags) == 2
    lines = [r.message for r in caplog.records if "MetricMonitor" in r.message]
    assert lines == [
        f"MetricMonitor: writing the scores of 2 of {data.num_classes} classes, and a table of the "
        "best and worst; pass max_classes= for more"
    ]
    with pytest.raises(ValueError, match="`0 <= max_classes` must hold"):
        MetricMonitor(max_classes=-1)


class ManyClasses(Foreign):
    """Logs a score of n percent for class n."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def validation_step(self, batch, batch_idx):
        for label in range(self.count):
            self.log(f"class/iou/thing {label}/val", label / 100, logger=False)
        self.log("class/iou/absent/val", torch.tensor(torch.nan), logger=False)


def test_the_best_and_the_worst_of_many_classes_are_in_a_table():
    logger = TensorBoardLogger(".", default_hp_metric=False)
    quiet_trainer(logger=logger, callbacks=[MetricMonitor()]).fit(ManyClasses(60), ones(), ones(1))
    events = read_events(logger.log_dir)
    assert len([tag for tag in scalars(events) if tag.startswith("class/iou/")]) == 50
    (event,) = events.Tensors("class_extremes/iou/val")
    lines = make_ndarray(event.tensor_proto).item().decode().splitlines()[2:]
    best, worst = range(59, 49, -1), range(9, -1, -1)
    assert lines == [f"| thing {n} | {n / 100:.4f} |" for n in (*best, *worst)]
    fit_foreign(ManyClasses(9), callbacks=[MetricMonitor()])


def test_the_scores_of_all_dataloaders_are_written():
    class Several(Foreign):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log("metric/miou/val", 0.5 + dataloader_idx, logger=False)
            self.log("class/iou/cat/val", 0.25 + dataloader_idx, logger=False)

    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[MetricMonitor()])
    trainer.fit(Several(), ones(), [ones(1), ones(2)])
    values = scalars(read_events(logger.log_dir))
    for number in (0, 1):
        assert values[f"metric/miou/val/dataloader_idx_{number}"] == [(7, 0.5 + number)]
        assert values[f"class/iou/cat/val/dataloader_idx_{number}"] == [(7, 0.25 + number)]
        assert values[f"best/metric/miou/val/dataloader_idx_{number}"] == [(7, 0.5 + number)]


def test_max_classes_applies_to_each_dataloader():
    class Several(Foreign):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            for label in ("road/valley", "sky", "tree"):
                self.log(f"class/iou/{label}/val", 0.25 + dataloader_idx, logger=False)

    def run(max_classes):
        logger = TensorBoardLogger(".", default_hp_metric=False)
        monitor = MetricMonitor(max_classes=max_classes)
        trainer = quiet_trainer(logger=logger, callbacks=[monitor])
        trainer.fit(Several(), ones(), [ones(1), ones(2)])
        return read_events(logger.log_dir)

    assert len([tag for tag in scalars(run(3)) if tag.startswith("class/")]) == 6
    events = run(2)
    assert len([tag for tag in scalars(events) if tag.startswith("class/")]) == 4
    tables = [tag for tag in events.Tags()["tensors"] if tag.startswith("class_extremes/")]
    assert sorted(tables) == [f"class_extremes/iou/val/dataloader_idx_{n}" for n in (0, 1)]
    (event,) = events.Tensors(tables[0])
    assert "| road/valley | 0.2500 |" in make_ndarray(event.tensor_proto).item().decode()


class Named(Foreign):
    class_names = ("cat", "dog")

    def validation_step(self, batch, batch_idx):
        probs, targets = torch.full((2, 3), 1 / 3), torch.tensor([0, 1])
        images = torch.rand(2, 3, 8, 8)
        return {"kind": "classification", "images": images, "probs": probs, "targets": targets}


def test_an_ignored_class_that_is_never_predicted_may_have_a_name():
    class Void(Named):
        class_names = ("cat", "dog", "bird", "void")
        ignore_index = 3

    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitor = MetricMonitor(pr_curves=True, calibration=True)
    quiet_trainer(logger=logger, callbacks=[monitor]).fit(Void(), ones(), ones())
    assert {"pr/cat/val", "pr/dog/val"} <= every_tag(logger.log_dir)
    assert "pr/void/val" not in every_tag(logger.log_dir)


class Accumulates(Foreign):
    """Takes a manual optimizer step in every fourth batch: 0, 4, 8, ..."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.manual_backward(self.layers[0](batch).square().mean())
        if batch_idx % 4 == 0:
            self.optimizers().step()
            self.optimizers().zero_grad()


def test_rates_are_written_with_manual_accumulation():
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[MetricMonitor()], log_every_n_steps=10)
    trainer.fit(Accumulates(), ones(40), ones(1))
    values = scalars(read_events(logger.log_dir))
    # The first batch with a step in each ten: 9, 19, 29 and 39 have none.
    assert [step for step, _ in values["lr/group 0"]] == [0, 12, 20, 32]
    assert [step for step, _ in values["norm/grad/group 0"]] == [0, 12, 20, 32]


def test_logging_can_be_disabled():
    values = fit_foreign(Foreign(), log_every_n_steps=0)
    assert not [tag for tag in values if tag.startswith(("lr/", "loss/train"))]


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_the_last_validation_is_drawn_and_flushed_however_training_ends(error, monkeypatch):
    class Ends(WithMatrix):
        def training_step(self, batch, batch_idx):
            if error and self.current_epoch == 4:
                raise error
            return super().training_step(batch, batch_idx)

    flushed = []
    monkeypatch.setattr(TensorBoardSink, "flush", lambda sink: flushed.append(sink))
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(
        logger=logger, callbacks=[MetricMonitor()], max_epochs=4 if error is None else 5
    )
    with contextlib.suppress(RuntimeError, KeyboardInterrupt, SystemExit):
        trainer.fit(Ends(), ones(2), ones(1))
    logger.finalize("failed")
    images = read_events(logger.log_dir).Images("confusion/val")
    assert [image.step for image in images] == [1, 3, 5, 7]
    assert len(flushed) == 5


def test_calibration_is_written_as_picture_histogram_and_error():
    data = shapes()
    task = matching(data)
    _, events = run(task, data, callbacks=[MetricMonitor(calibration=True)], max_epochs=1)
    assert [image.step for image in events.Images("calibration/val")] == [3]
    (point,) = events.Histograms("confidence/val")
    assert point.histogram_value.num == 6 * 32 * 32
    data.setup("fit")
    probs, truth = [], []
    with torch.no_grad():
        for batch in data.val_dataloader():
            probs.append(task.eval()(batch["image"]).softmax(1))
            truth.append(batch["mask"])
    expected = multiclass_calibration_error(
        torch.cat(probs), torch.cat(truth), data.num_classes, n_bins=15
    )
    assert scalars(events)["metric/calibration_error/val"] == [
        (3, pytest.approx(float(expected), abs=1e-4))
    ]


def test_calibration_of_boxes_uses_their_scores():
    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitor = MetricMonitor(calibration=True, class_names=["background", "cell"])
    quiet_trainer(logger=logger, callbacks=[monitor]).fit(Boxed(), ones(), ones(3))
    values = scalars(read_events(logger.log_dir))
    # One of two is right: its score is 0.8, that of the other 0.4.
    assert values["metric/calibration_error/val"] == [(7, pytest.approx((0.2 + 0.4) / 2))]


def test_the_confusion_matrix_is_drawn_at_the_first_validations_and_the_last():
    _, events = run(max_epochs=4, limit_train_batches=1)
    assert [image.step for image in events.Images("confusion/val")] == [0, 1, 2, 3]
    _, events = run(max_epochs=7, limit_train_batches=1)
    assert [image.step for image in events.Images("confusion/val")] == [0, 1, 2, 4, 6]


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_one_row_more_than_classes_is_the_background(monkeypatch, extra):
    seen = []
    monkeypatch.setattr(
        "lightning_hparams.callbacks._confusion.confusion_picture",
        lambda counts, names: seen.append(names) or np.zeros((4, 4, 3), np.uint8),
    )
    module = Foreign()
    module.val_counts = MulticlassConfusionMatrix(2 + extra)
    module.val_counts.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
    confusion = Confusion()
    confusion.take(module, "val")
    confusion.hold("val", 3)
    confusion.draw(["cat", "dog"], Mock())
    numbered = [f"class {index}" for index in range(4)]
    assert seen == [(["cat", "dog"], ["cat", "dog", "background"], numbered)[extra]]


class WithMatrix(Foreign):
    """Resets its metric at the end of the epoch, as many do."""

    def __init__(self):
        super().__init__()
        self.val_counts = MulticlassConfusionMatrix(3)

    def validation_step(self, batch, batch_idx):
        self.val_counts.update(torch.tensor([0, 2]), torch.tensor([0, 1]))

    def on_validation_epoch_end(self):
        self.val_counts.reset()


def test_a_torchmetrics_confusion_matrix_is_drawn_even_if_the_module_resets_it():
    logger = TensorBoardLogger(".", default_hp_metric=False)
    quiet_trainer(logger=logger, callbacks=[MetricMonitor()]).fit(WithMatrix(), ones(), ones())
    assert len(read_events(logger.log_dir).Images("confusion/val")) == 1


def test_precision_recall_curves_match_the_scores():
    data = shapes("binary")
    task = matching(data)
    _, events = run(task, data, callbacks=[MetricMonitor(pr_curves=True)], max_epochs=1)
    (event,) = events.Tensors(f"pr/{data.class_names[1]}/val")
    rows = make_ndarray(event.tensor_proto)
    scores, truth = [], []
    data.setup("fit")
    with torch.no_grad():
        for batch in data.val_dataloader():
            scores.append(task.eval()(batch["image"]).sigmoid().flatten())
            truth.append(batch["mask"].flatten())
    scores, truth = torch.cat(scores), torch.cat(truth)
    assert event.step == 3
    for place in (0, 30, 50, 70, 100):
        above = scores >= place / 100 - 1e-6
        expected = [
            int((above & (truth == 1)).sum()),
            int((above & (truth == 0)).sum()),
            int((~above & (truth == 0)).sum()),
            int((~above & (truth == 1)).sum()),
        ]
        assert rows[:4, place].tolist() == pytest.approx(expected, abs=3)


class Boxed(Foreign):
    def validation_step(self, batch, batch_idx):
        truth = {"boxes": torch.tensor([[0.0, 0.0, 8.0, 8.0]] * 1), "labels": torch.tensor([1])}
        guess = {
            "boxes": torch.tensor([[0.0, 0.0, 8.0, 7.0], [4.0, 4.0, 9.0, 9.0]]),
            "labels": torch.tensor([1, 1]),
            "scores": torch.tensor([0.8, 0.4]),
        }
        images = [torch.rand(3, 10, 10)]
        return {"kind": "detection", "images": images, "preds": [guess], "targets": [truth]}


def test_precision_recall_curves_of_boxes_count_matches():
    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitor = MetricMonitor(pr_curves=True, class_names=["background", "cell"])
    quiet_trainer(logger=logger, callbacks=[monitor]).fit(Boxed(), ones(), ones(3))
    events = read_events(logger.log_dir)
    assert [tag for tag in events.Tags()["tensors"] if tag.startswith("pr/")] == ["pr/cell/val"]
    rows = make_ndarray(events.Tensors("pr/cell/val")[0].tensor_proto)
    assert rows[:4, 0].tolist() == [3, 3, 0, 0]
    assert rows[:4, 60].tolist() == [3, 0, 3, 0]
    assert rows[:4, 90].tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (Foreign(), TypeError, r"with pr_curves=True, validation_step must .*, got None$"),
        (Boxed(), ValueError, "detection curves need the names of all classes; pass class_names="),
    ],
)
def test_outputs_without_usable_scores_are_refused_before_training(module, error, message):
    before = module.layers[0].weight.detach().clone()
    with pytest.raises(error, match=message):
        fit_foreign(module, callbacks=[MetricMonitor(pr_curves=True)])
    assert torch.equal(before, module.layers[0].weight)


def test_the_layout_includes_curves_of_other_monitors_and_later_epochs():
    class Late(Foreign):
        def validation_step(self, batch, batch_idx):
            if self.current_epoch:
                self.log("metric/late/val", 0.5, logger=False)

    logger = TensorBoardLogger(".", default_hp_metric=False)
    callbacks = [MetricMonitor(), SpeedMonitor()]
    quiet_trainer(logger=logger, callbacks=callbacks, max_epochs=2).fit(Late(), ones(), ones())
    *_, event = read_events(logger.log_dir).Tensors("custom_scalars__config__")
    layout = Layout.FromString(make_ndarray(event.tensor_proto).item())
    titles = {category.title: [c.title for c in category.chart] for category in layout.category}
    assert titles["Metrics"] == ["metric/late"]
    assert "perf/samples_per_sec" in titles["Throughput"]


def test_the_layout_shows_training_and_validation_in_one_chart():
    _, events = run(max_epochs=1)
    *_, event = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(make_ndarray(event.tensor_proto).item())
    charts = {
        chart.title: list(chart.multiline.tag)
        for category in layout.category
        for chart in category.chart
    }
    tags = scalars(events)
    shown = {
        title: {tag for tag in tags if any(re.match(p, tag) for p in patterns)}
        for title, patterns in charts.items()
    }
    assert shown["loss"] == {"loss/train", "loss/val"}
    assert shown["loss/dice"] == {"loss/train/dice", "loss/val/dice"}
    assert len(shown["class/iou"]) == 4
    assert shown["lr"] == {tag for tag in tags if tag.startswith("lr/")}
    assert all(shown.values())


@pytest.mark.parametrize("log_every", [1, 50])
def test_histograms_are_written_once_per_epoch(log_every):
    _, events = run(callbacks=[MetricMonitor(histograms=True)], log_every_n_steps=log_every)
    tags = events.Tags()["histograms"]
    names = dict(matching(shapes()).named_parameters())
    assert {tag.partition("/")[2] for tag in tags} == set(names)
    for tag in tags:
        points = events.Histograms(tag)
        assert [point.step for point in points] == [0, 4]
        count = names[tag.partition("/")[2]].numel()
        assert points[0].histogram_value.num == pytest.approx(count)


@pytest.mark.parametrize("values", [[0.0, 0.25, 1.0, 1.0], [2.0, 2.0, 2.0], [-3.0, 5.0]])
def test_a_histogram_equals_that_of_torch(values):
    class Holds(Foreign):
        def __init__(self):
            super().__init__()
            self.held = torch.nn.Parameter(torch.tensor(values))

    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitor = MetricMonitor(histograms=True)
    quiet_trainer(logger=logger, callbacks=[monitor], max_steps=1).fit(Holds(), ones(), ones())
    (point,) = read_events(logger.log_dir).Histograms("weights/held")
    found = point.histogram_value
    low, high = (
        (values[0] - 0.5, values[0] + 0.5) if len(set(values)) == 1 else (min(values), max(values))
    )
    expected = torch.histc(torch.tensor(values), 64, low, high)
    assert found.bucket == expected.tolist()


class Returns(Foreign):
    """Returns given values along with its loss."""

    def __init__(self, **extra):
        super().__init__()
        self.extra = extra

    def training_step(self, batch, batch_idx):
        return {"loss": super().training_step(batch, batch_idx), **self.extra}


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([0.5], "terms of training_step left out"),
        ("ce", "terms of training_step left out"),
        (torch.ones(3), "terms of training_step left out"),
        ({"ce": 0.5, "map": torch.ones(2, 2)}, r"terms\['map'\] of training_step left out"),
        ({"ce": 0.5, "why": None}, r"terms\['why'\] of training_step left out"),
        ({"ce": 0.5, "x/dataloader_idx_1": 1.0}, r"terms\['x/dataloader_idx_1'\] of"),
        ({"ce": 0.5, "": 1.0}, r"terms\[''\] of"),
    ],
)
def test_terms_of_other_types_are_omitted_with_one_warning_that_names_them(terms, message):
    with pytest.warns(UserWarning, match=message) as warned:
        values = fit_foreign(Returns(terms=terms), limit_val_batches=0)
    assert sum("left out" in str(one.message) for one in warned) == 1
    assert len(values["loss/train"]) == 5
    assert {tag for tag in values if tag.startswith("loss/train/")} == (
        {"loss/train/ce"} if isinstance(terms, dict) else set()
    )


def test_names_that_cannot_be_encoded_are_escaped():
    class Odd(Returns):
        def configure_optimizers(self):
            groups = [{"params": self.parameters(), "name": "bad \udfff"}]
            return torch.optim.SGD(groups, lr=0.1)

        def validation_step(self, batch, batch_idx):
            self.log("class/iou/road \ud800/val", 0.5, logger=False)

    with pytest.warns(UserWarning, match=r"cannot be encoded; written as 'class/iou/road"):
        values = fit_foreign(Odd(terms={"term \ud800": 0.5}))
    assert values["class/iou/road \\ud800/val"] == [(7, 0.5)]
    assert len(values["loss/train/term \\ud800"]) == len(values["lr/bad \\udfff"]) == 5


def test_two_groups_with_the_same_name_are_both_written():
    class Twins(Foreign):
        def configure_optimizers(self):
            weight, bias = self.layers[0].parameters()
            groups = [
                {"params": [weight], "name": "head", "lr": 0.1},
                {"params": [bias], "name": "head", "lr": 0.2, "weight_decay": 0.3},
            ]
            return torch.optim.SGD(groups, lr=0.1)

    values = fit_foreign(Twins())
    for tag, value in (("lr/head", 0.1), ("lr/head #2", 0.2), ("weight_decay/head #2", 0.3)):
        assert values[tag][0] == (0, pytest.approx(value)), tag
    assert {"momentum/head #2", "norm/grad/head", "norm/grad/head #2"} <= set(values)


@pytest.mark.parametrize("on_step", [False, True])
def test_a_loss_that_the_module_logs_per_epoch_remains_one_curve(on_step):
    class Epochs(Foreign):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("loss/train", loss, on_step=on_step, on_epoch=True)
            return loss

    values = fit_foreign(Epochs(), max_epochs=2)
    written = {tag: [step for step, _ in values[tag]] for tag in values if "loss/train" in tag}
    epochs = [7, 15]
    steps = [1, 3, 5, 7, 9, 11, 13, 15]
    expected = {"loss/train": epochs}
    if on_step:
        expected = {"loss/train_step": steps, "loss/train_epoch": epochs}
    assert written == expected


def test_other_callbacks_can_monitor_a_rate():
    class Falling(Foreign):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0, weight_decay=0.5)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)]

    stop = EarlyStopping("lr/group 0", stopping_threshold=0.5, check_on_train_epoch_end=True)
    trainer = quiet_trainer(callbacks=[MetricMonitor(), stop], max_epochs=5, log_every_n_steps=2)
    trainer.fit(Falling(), ones(), ones())
    assert trainer.current_epoch == 2
    assert trainer.callback_metrics["weight_decay/group 0"] == 0.5
    assert not [tag for tag in trainer.callback_metrics if tag.startswith("norm/")]


@pytest.mark.parametrize(
    "given",
    [
        np.array(["cat", "dog", "bird"]),
        {"bird": 2, "cat": 0, "dog": 1},
        {0: "cat", 1: "dog", 2: "bird"},
        lambda: ("cat", "dog", "bird"),
        enum.Enum("Pets", ["cat", "dog", "bird"]),
    ],
)
def test_class_names_may_be_of_any_type(given):
    class Pets(Named):
        class_names = property(lambda self: given)

    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitor = MetricMonitor(pr_curves=True)
    quiet_trainer(logger=logger, callbacks=[monitor]).fit(Pets(), ones(), ones())
    assert {"pr/cat/val", "pr/dog/val"} <= every_tag(logger.log_dir)


def test_class_names_may_be_a_hyperparameter():
    module = Named()
    module.save_hyperparameters({"class_names": ["cat", "dog", "bird"]})
    module.class_names = None
    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitor = MetricMonitor(pr_curves=True)
    quiet_trainer(logger=logger, callbacks=[monitor]).fit(module, ones(), ones())
    assert {"pr/cat/val", "pr/dog/val"} <= every_tag(logger.log_dir)


def test_a_module_with_too_few_class_names_gets_numbered_ones_and_one_warning():
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[MetricMonitor(pr_curves=True)], max_epochs=2)
    text = "class_names has 2 entries, but predictions have 3 classes; name every class"
    with pytest.warns(UserWarning, match=text) as warned:
        trainer.fit(Named(), ones(), ones())
    assert sum("class_names has 2" in str(one.message) for one in warned) == 1
    assert {"pr/cat/val", "pr/dog/val"} <= every_tag(logger.log_dir)
    with pytest.raises(ValueError, match=text):
        fit_foreign(Named(), callbacks=[MetricMonitor(pr_curves=True, class_names=["a", "b"])])


@pytest.mark.parametrize("given", ["cat", {"cat": 0, "dog": 7}, 3, lambda: 1 / 0, iter("ab")])
def test_unreadable_class_names_are_ignored_with_one_warning(given):
    class Pets(WithMatrix):
        class_names = property(lambda self: given)

    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[MetricMonitor()], max_epochs=3)
    with pytest.warns(UserWarning, match="class_names left out") as warned:
        trainer.fit(Pets(), ones(), ones())
    assert sum("class_names" in str(one.message) for one in warned) == 1
    assert len(read_events(logger.log_dir).Images("confusion/val")) == 3


GOOD = {
    "kind": "multiclass",
    "images": torch.rand(1, 3, 4, 4),
    "probs": torch.full((1, 2, 4, 4), 0.5),
}
GOOD |= {"targets": torch.zeros(1, 4, 4, dtype=torch.long)}


@pytest.mark.parametrize(
    "odd",
    [
        None,
        {},
        {**GOOD, "probs": None},
        {**GOOD, "probs": torch.full((1, 3, 4, 4), 0.3)},
        {**GOOD, "targets": None},
        {**GOOD, "targets": torch.zeros(2, 9, 9, dtype=torch.long)},
        {**GOOD, "kind": "detection", "preds": [{}], "targets": [{}]},
        {**GOOD, "kind": "regression"},
        {key: value for key, value in GOOD.items() if key != "probs"},
    ],
)
def test_an_invalid_batch_costs_only_the_curves_of_its_validation(odd):
    class Rarely(Foreign):
        def validation_step(self, batch, batch_idx):
            return odd if (self.current_epoch, batch_idx) == (1, 1) else GOOD

    logger = TensorBoardLogger(".", default_hp_metric=False)
    monitor = MetricMonitor(pr_curves=True, calibration=True)
    trainer = quiet_trainer(logger=logger, callbacks=[monitor], max_epochs=3)
    with pytest.warns(UserWarning, match="curves of a val set left out") as warned:
        trainer.fit(Rarely(), ones(2), ones(3))
    assert sum("left out" in str(one.message) for one in warned) == 1
    events = read_events(logger.log_dir)
    assert [image.step for image in events.Images("calibration/val")] == [1, 5]
    assert [event.step for event in events.Tensors("pr/class 0/val")] == [1, 5]


def test_a_later_validation_uses_lightnings_steps():
    class Both(Foreign):
        calls = 0

        def on_validation_epoch_end(self):
            self.calls += 1
            self.log("val_loss", 0.5 * self.calls)
            self.log("metric/miou/val", 0.25 * self.calls, logger=False)

    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(logger=logger, callbacks=[MetricMonitor()])
    module = Both()
    trainer.validate(module, ones(), verbose=False)
    trainer.validate(module, ones(), verbose=False)
    trainer.fit(module, ones(4), ones())
    trainer.validate(module, ones(), verbose=False)
    values = scalars(read_events(logger.log_dir))
    assert [step for step, _ in values["metric/miou/val"]] == [
        step for step, _ in values["val_loss"]
    ]
    assert len(values["val_loss"]) == 4
