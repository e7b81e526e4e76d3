"""Weights & Biases, offline: what monitors write arrives in its run."""

import pytest
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from lightning_hparams import MetricMonitor, PredictionMonitor, RunRecorder
from tests.runs import matching, quiet_trainer, shapes

pytest.importorskip("wandb", reason="wandb is not installed")


@pytest.mark.filterwarnings("ignore")
def test_numbers_pictures_and_hyperparameters_arrive_beside_another_logger(tmp_path):
    logger, data = WandbLogger(save_dir=tmp_path, offline=True), shapes()
    trainer = quiet_trainer(
        logger=[logger, CSVLogger(tmp_path / "csv")],
        callbacks=[MetricMonitor(), PredictionMonitor(2), RunRecorder()],
        log_every_n_steps=1,
    )
    trainer.fit(matching(data), data)
    run = logger.experiment
    summary = dict(run.summary)
    assert {"loss/train", "metric/miou/val"} <= set(summary)
    pictures = [tag for tag in summary if tag.startswith("val_pred/")]
    assert len(pictures) == 2
    assert summary[pictures[0]]["_type"] == "image-file"
    assert run.config["num_classes"] == data.num_classes
    run.finish()
