"""Generators that copies share: found where classes and globals hold them, and put back."""

import functools
import random

import numpy as np
import pytest
import torch
from lightning import LightningModule
from torch import nn
from torch.utils.data import DataLoader

from lightning_hparams import LRRangeTest
from lightning_hparams.isolation import copy_data
from lightning_hparams.random_states import generators_kept
from tests.runs import quiet_trainer

COMMON = np.random.default_rng(5)


def by_global():
    return lambda: float(COMMON.random())


def by_method_of_a_local_class():
    generator = random.Random(1)

    class Draw:
        def draw(self):
            return generator.random()

    return Draw().draw


def by_class_attribute():
    class Base:
        generator = torch.Generator().manual_seed(2)

    class Draw(Base):
        def __call__(self):
            return float(torch.rand(1, generator=self.generator))

    return Draw()


def by_static_method():
    generator = np.random.RandomState(3)

    class Draw:
        @staticmethod
        def draw():
            return float(generator.rand())

        def __call__(self):
            return self.draw()

    return Draw()


def by_property():
    generator = np.random.default_rng(4)

    class Draw:
        @property
        def value(self):
            return float(generator.random())

        def __call__(self):
            return self.value

    return Draw()


SHARED = [
    by_global,
    by_method_of_a_local_class,
    by_class_attribute,
    by_static_method,
    by_property,
]


@pytest.mark.parametrize("make", SHARED)
def test_generators_of_classes_and_globals_are_put_back_also_after_an_error(make):
    draw = make()
    with generators_kept([draw]):
        expected = [draw(), draw()]
    with pytest.raises(ZeroDivisionError), generators_kept([draw]):
        1 / (draw() * 0)
    assert [draw(), draw()] == expected


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.lr = 0.1
        self.layer = nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(float(batch[0]))
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:the range test suggests")
@pytest.mark.parametrize("make", SHARED)
def test_a_range_test_leaves_generators_of_classes_and_globals_as_they_were(make):
    draw = make()
    with generators_kept([draw]):
        expected = draw()
    module = Net()
    loader = DataLoader([0.0] * 12, collate_fn=lambda items: torch.tensor([[draw()]]))
    test = LRRangeTest(num_steps=10, apply=False)
    quiet_trainer(callbacks=[test], limit_train_batches=1, log_every_n_steps=1).fit(module, loader)
    assert module.seen == pytest.approx([expected])
    assert test.result is not None


def test_a_cached_function_is_copied_with_an_empty_cache():
    generator = random.Random(0)

    @functools.lru_cache(maxsize=7)
    def draw(index):
        return generator.random() if index else draw(1)

    expected = random.Random(0).random()
    own, uncopied = copy_data([draw])
    assert uncopied == []
    assert own[0](0) == expected
    assert own[0].cache_parameters() == draw.cache_parameters()
    assert draw.cache_info().currsize == 0
    assert draw(0) == expected


def test_what_pickle_knows_by_name_need_not_be_found_by_it():
    add = np.frompyfunc(lambda value: value + 1, 1, 1)
    own, _ = copy_data({"add": add})
    assert own["add"] is add
