"""What the migration page says of other tools holds for the installed versions of them."""

import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateFinder, LearningRateMonitor, ThroughputMonitor
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_hparams import LRRangeTest, MetricMonitor, OneCycle, SpeedMonitor, lr_range_test
from tests.pages import Data, Net, blocks
from tests.runs import quiet_trainer, read_events

PAGE = Path(__file__).parents[1] / "docs" / "migration.md"


def test_every_section_shows_code_before_and_after():
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert len(sections) == 9
    for section in sections:
        assert section.count("```py\n") == section.count("```python\n") == 1, section[:40]
    for code in blocks(PAGE, "py"):
        compile(code, "before", "exec")


@pytest.mark.filterwarnings("ignore")
def test_the_finder_and_the_range_test_have_the_arguments_that_are_named():
    before = LearningRateFinder(min_lr=1e-6, max_lr=1.0, num_training_steps=30)
    quiet_trainer(callbacks=[before], enable_checkpointing=True).fit(Net(), Data())
    test = LRRangeTest(min_lr=1e-6, max_lr=1.0, num_steps=30)
    quiet_trainer(callbacks=[test]).fit(Net(), Data())
    swept = before.optimal_lr.results["lr"]
    assert len(test.result.lrs) <= 30
    assert swept[0] == pytest.approx(test.result.lrs[0], rel=0.7)  # it skips its first rate


@pytest.mark.filterwarnings("ignore")
def test_monitors_log_what_lightnings_do_under_the_named_tags():
    logger = TensorBoardLogger(".", default_hp_metric=False)
    both = [
        LearningRateMonitor(logging_interval="step"),
        ThroughputMonitor(batch_size_fn=lambda batch: len(batch[0]), window_size=2),
        MetricMonitor(),
        SpeedMonitor(window=2),
    ]
    trainer = quiet_trainer(logger=logger, callbacks=both, max_epochs=2, log_every_n_steps=1)
    trainer.fit(Net(), Data())
    tags = set(read_events(logger.log_dir).Tags()["scalars"])
    assert "lr-AdamW" in tags
    assert any(tag.startswith("lr/") for tag in tags)
    for name in ("batches_per_sec", "samples_per_sec"):
        assert {f"train/device/{name}", f"perf/{name}/train"} <= tags, sorted(tags)


def rates(callbacks, module):
    seen = []
    step = module.optimizer_step

    def noted(*args, **kwargs):
        seen.append(module.optimizers().param_groups[0]["lr"])
        return step(*args, **kwargs)

    module.optimizer_step = noted
    quiet_trainer(max_epochs=2, callbacks=callbacks).fit(module, Data())
    return seen


def test_one_cycle_is_the_curve_of_torch():
    class Before(Net):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=0.1, pct_start=0.25, total_steps=8
            )
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
            }

    class After(Net):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    expected = rates([], Before())
    assert rates([OneCycle(pct_start=0.25)], After()) == pytest.approx(expected)
    assert rates([OneCycle(pct_start=0.25, override=True)], Before()) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore")
def test_pytorch_lr_finder_changes_the_model_that_ours_leaves_alone():
    finder = pytest.importorskip("torch_lr_finder", reason="torch-lr-finder is not installed")
    loader, net = Data().train_dataloader(), Net()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-7)
    before = [weight.clone() for weight in net.parameters()]
    sweep = finder.LRFinder(net, optimizer, net.loss, device="cpu")
    sweep.range_test(loader, end_lr=1, num_iter=20)
    assert not all(map(torch.equal, before, net.parameters()))
    sweep.reset()
    module = Net()
    before = [weight.clone() for weight in module.parameters()]
    assert lr_range_test(module, loader, max_lr=1.0, num_steps=20).lrs[0] == 1e-7
    assert all(map(torch.equal, before, module.parameters()))
