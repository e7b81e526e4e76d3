"""A logger that is unknown here gets numbers, and one message about pictures."""

import pytest
from lightning.pytorch.loggers import WandbLogger

from lightning_hparams import MetricMonitor, SpeedMonitor
from tests.pages import Data, Net
from tests.runs import quiet_trainer

pytest.importorskip("wandb", reason="wandb is not installed")


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_offline_gets_the_numbers_of_all_monitors(tmp_path):
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    trainer = quiet_trainer(
        logger=logger, callbacks=[MetricMonitor(), SpeedMonitor()], log_every_n_steps=1
    )
    trainer.fit(Net(), Data())
    assert "loss/train" in dict(logger.experiment.summary)
    logger.experiment.finish()
