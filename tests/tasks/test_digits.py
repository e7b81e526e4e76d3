"""How accurate a classification of small images is, with the settings of the example."""

import pytest
import torch

from lightning_hparams import ClassificationTask, DigitsData, OneCycle
from tests.runs import quiet_trainer


@pytest.mark.slow
def test_digits_are_classified_in_few_steps():
    torch.manual_seed(0)
    data = DigitsData(size=32, batch_size=32)
    task = ClassificationTask("resnet10t", in_channels=1, num_classes=10, lr=3e-3)
    trainer = quiet_trainer(max_epochs=4, callbacks=[OneCycle()], limit_val_batches=0)
    trainer.fit(task, data)
    assert trainer.global_step <= 600
    (scores,) = trainer.test(task, data, verbose=False)
    assert scores["metric/accuracy/test"] >= 0.985
