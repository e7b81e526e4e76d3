"""The short trainings of a range test: their samples, their cost, and that they leave no trace."""

from itertools import chain

import pytest
import torch
from lightning import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_hparams import LRRangeTest, lr_range_test
from lightning_hparams.range_test import RangeTestResult
from tests.callbacks.test_range_test import python
from tests.runs import quiet_trainer

FEATURES = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(FEATURES, (FEATURES.sum(1, keepdim=True) > 0).float(), torch.arange(400))


def loader(**options):
    return DataLoader(DATA, batch_size=16, shuffle=True, **options)


class Net(LightningModule):
    """Notes the samples that it is trained with and evaluated on, in lists shared by all copies."""

    seen: list
    judged: list

    def __init__(self, lr=0.01, optimizer=torch.optim.Adam):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 1)
        )
        self.lr, self.kind = lr, optimizer

    def training_step(self, batch, batch_idx):
        features, target, index = batch
        (type(self).seen if torch.is_grad_enabled() else type(self).judged).append(index)
        loss = nn.functional.binary_cross_entropy_with_logits(self.body(features), target)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return self.kind(self.parameters(), lr=self.lr)


@pytest.fixture(autouse=True)
def fresh():
    Net.seen, Net.judged = [], []
    torch.manual_seed(0)


def found_by(data=None, module=None, budget=400, **options):
    return lr_range_test(
        module or Net(), loader() if data is None else data, budget=budget, **options
    )


def samples(parts):
    return set(torch.cat(parts).tolist()) if parts else set()


class Module(LightningDataModule):
    def train_dataloader(self):
        return loader()


@pytest.mark.parametrize("data", [loader, Module, lambda: loader(num_workers=1)])
def test_trainings_are_judged_by_samples_that_they_were_not_trained_with(data):
    result = found_by(data())
    assert result.status == "ok"
    judged, later = samples(Net.judged), samples(Net.seen[100:])
    assert len(judged) >= 64
    assert not judged & later
    assert judged | later == set(range(400))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(DATA)


@pytest.mark.parametrize(
    "data",
    [
        lambda: DataLoader(Stream(), batch_size=16),
        lambda: DataLoader(TensorDataset(*DATA[:60]), batch_size=16),
    ],
)
def test_where_no_samples_can_be_kept_apart_the_training_loss_judges(data):
    result = found_by(data())
    assert result.status == "ok"
    assert result.probes
    assert not Net.judged


def test_a_step_that_has_a_loss_in_training_mode_only_is_judged_in_that_mode():
    class Strict(Net):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(4, 1)

        def training_step(self, batch, batch_idx):
            assert self.training
            return super().training_step(batch, batch_idx)

    assert found_by(module=Strict()).suggestion is not None
    assert Strict.judged


def test_the_trainings_improve_on_a_rate_far_too_low():
    result = found_by(budget=600, rule=lambda curve: 1e-4)
    assert result.suggestion > 1e-3
    assert result.suggestion == pytest.approx(result.max_lr)
    assert len(result.probes) >= 3


def test_the_cost_is_counted_and_within_the_budget():
    result = found_by(budget=400)
    assert result.steps_run == len(Net.seen)
    assert result.steps_run <= 100 + 8 * 60


def fitted(*callbacks, **options):
    torch.manual_seed(3)
    module = Net()
    options = {"max_epochs": 2, **options}
    quiet_trainer(callbacks=list(callbacks), **options).fit(module, loader())
    return module


def test_training_after_it_equals_training_without_it():
    plain = fitted()
    after = fitted(LRRangeTest(budget=400, apply=False))
    assert all(
        torch.equal(a, b) for a, b in zip(plain.parameters(), after.parameters(), strict=True)
    )


def test_a_short_run_is_left_with_the_sweep_by_default():
    test = LRRangeTest(apply=False)
    fitted(test)
    assert test.result.steps_run <= 100
    assert not test.result.probes


def test_trainings_find_the_rate_of_a_run_whose_sweep_shows_nothing():
    test = LRRangeTest(max_lr=1e-4)  # too low to see anything
    module = fitted(test, max_epochs=12)
    assert test.result.status == "ok"
    assert len(test.result.probes) > 1
    assert module.lr == test.result.suggestion > 1e-4
    brief = LRRangeTest(max_lr=1e-4)
    with pytest.warns(UserWarning, match="suggests nothing"):
        fitted(brief)  # of 50 steps
    later = LRRangeTest(max_lr=1e-4, at_epochs=[1])
    with pytest.warns(UserWarning, match="suggests nothing"):
        fitted(later, max_epochs=12)
    assert not brief.result.probes + later.result.probes


def test_each_training_has_a_progress_bar(capsys):
    rates = [rate for rate, _ in found_by().probes]
    shown = capsys.readouterr().err
    assert [rate for rate in rates if f"training at {rate:.2g}:" not in shown] == []


@pytest.mark.parametrize("budget", [None, 0.5])
def test_without_a_run_there_is_no_share_of_it_for_trainings(budget):
    assert not found_by(budget=budget).probes


def test_without_anything_to_learn_there_is_no_suggestion():
    """Labels of a fair coin: single steps may follow the noise, trainings find nothing in it."""
    coin = torch.randint(0, 2, (400, 1), generator=torch.Generator().manual_seed(1)).float()
    data = TensorDataset(FEATURES, coin, torch.arange(400))

    class Certain(Net):
        def __init__(self):
            super().__init__()
            nn.init.zeros_(self.body[-1].weight)
            nn.init.zeros_(self.body[-1].bias)

    with pytest.warns(UserWarning, match="suggests nothing"):
        result = found_by(DataLoader(data, batch_size=16, shuffle=True), Certain())
    assert result.suggestion is None


@pytest.mark.parametrize("budget", [-0.1, float("nan")])
def test_a_bad_budget_is_refused(budget):
    with pytest.raises(ValueError, match="`0 <= budget` must hold"):
        LRRangeTest(budget=budget)


# -- two processes ---------------------------------------------------------------------------------

DDP = """
    import sys, torch
    from lightning import Trainer
    from torch.utils.data import DataLoader, DistributedSampler, RandomSampler
    from lightning_hparams import LRRangeTest
    from tests.callbacks.test_range_test_budget import DATA, Net, loader

    class Own(Net):
        def train_dataloader(self):
            sampler = DistributedSampler(DATA, 2, self.global_rank, seed=5)
            return DataLoader(DATA, batch_size=16, sampler=sampler, num_workers=1)

    class Everything(Net):
        def train_dataloader(self):
            return DataLoader(DATA, batch_size=16, sampler=RandomSampler(DATA))

    if __name__ == "__main__":
        kind = sys.argv[1]
        Net.seen, Net.judged = [], []
        torch.manual_seed(0)
        module = {"own": Own, "everything": Everything}.get(kind, Net)()
        test = LRRangeTest(budget=400, apply=False)
        Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_steps=1, max_epochs=-1, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[test], use_distributed_sampler=kind == "given",
        ).fit(module, loader() if kind == "given" else None)
        steps = slice(len(test.result.lrs), test.result.steps_run)
        torch.save(
            (test.result.to_json(), [part.tolist() for part in type(module).judged],
             [part.tolist() for part in type(module).seen[steps]]),
            f"rank{module.global_rank}.pt",
        )
        # As torch asks for: gloo's threads may abort a process that ends while they run.
        torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["given", "own", "everything"])
def test_two_processes_agree_and_neither_trains_with_samples_that_judge_it(kind, tmp_path):
    """Unless each rank draws from all samples: then the training loss judges."""
    ended = python(DDP, tmp_path, kind)
    assert ended.returncode == 0, ended.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    (result, judged, seen), (other, also_judged, also_seen) = ranks
    assert result == other
    found = RangeTestResult.from_json(result)
    assert found.status == "ok"
    assert len(found.probes) >= 2
    assert judged == also_judged
    assert bool(judged) == (kind != "everything")
    if judged:
        held = set(chain(*judged))
        assert len(held) >= 64
        assert set(chain(*seen, *also_seen)) == set(range(400)) - held
        assert len(seen) == len(also_seen) == found.steps_run - len(found.lrs)
        assert set(chain(*seen[:8])).isdisjoint(chain(*also_seen[:8]))
