"""What holds for all monitors together."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.util.tensor_util import make_ndarray

from lightning_hparams import MetricMonitor, PredictionMonitor, RunRecorder, SpeedMonitor
from tests.runs import matching, quiet_trainer, read_events, shapes


def monitors():
    everything = MetricMonitor(histograms=True, pr_curves=True, calibration=True)
    pictures = PredictionMonitor(2, schedule="every")
    return [everything, pictures, SpeedMonitor(flops=True), RunRecorder()]


def trained(callbacks):
    torch.manual_seed(3)
    data = shapes()
    task = matching(data)
    losses = []
    step = task.training_step

    def noted(batch, batch_idx):
        output = step(batch, batch_idx)
        losses.append(output["loss"].item())
        return output

    task.training_step = noted
    logger = TensorBoardLogger(".", default_hp_metric=False)
    quiet_trainer(max_epochs=2, logger=logger, callbacks=callbacks, log_every_n_steps=1).fit(
        task, data
    )
    return list(task.state_dict().values()), losses, torch.get_rng_state()


def test_training_with_monitors_equals_training_without_them_bit_for_bit():
    weights, losses, rng = trained([])
    watched_weights, watched_losses, watched_rng = trained(monitors())
    assert losses == watched_losses
    assert all(torch.equal(a, b) for a, b in zip(weights, watched_weights, strict=True))
    assert torch.equal(rng, watched_rng)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_written_before_a_crash_can_be_read(error):
    data = shapes()
    task = matching(data)
    step = task.training_step

    def failing(batch, batch_idx):
        if task.current_epoch == 1:
            raise error
        return step(batch, batch_idx)

    task.training_step = failing
    logger = TensorBoardLogger(".", default_hp_metric=False)
    trainer = quiet_trainer(max_epochs=3, logger=logger, callbacks=monitors(), log_every_n_steps=1)
    with pytest.raises((error, SystemExit)):
        trainer.fit(task, data)
    events = read_events(logger.log_dir)
    assert len(events.Scalars("loss/train/ce")) == 4
    assert len(events.Tags()["images"]) == 2 + 4 + 2  # chosen, worst, confusion, calibration


def test_monitors_may_be_used_for_a_second_fit():
    callbacks = monitors()
    for _ in range(2):
        data = shapes()
        logger = TensorBoardLogger(".", default_hp_metric=False)
        quiet_trainer(logger=logger, callbacks=callbacks, log_every_n_steps=1).fit(
            matching(data), data
        )
        assert len(read_events(logger.log_dir).Scalars("loss/train/ce")) == 4


DDP = """
    import sys, torch, lightning
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning_hparams import MetricMonitor, PredictionMonitor, RunRecorder
    from tests.runs import matching, shapes

    if __name__ == "__main__":
        devices = int(sys.argv[1])
        torch.manual_seed(0)
        data = shapes(num_val=12, batch_size=3)
        task = matching(data).eval()
        trainer = lightning.Trainer(
            accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto",
            max_epochs=1, limit_train_batches=2, log_every_n_steps=1, enable_checkpointing=False,
            logger=TensorBoardLogger(f"runs{devices}", default_hp_metric=False),
            enable_progress_bar=False, enable_model_summary=False,
            callbacks=[
                MetricMonitor(pr_curves=True, calibration=True), PredictionMonitor(4), RunRecorder()
            ],
        )
        trainer.validate(task, data, verbose=False)
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        trainer.fit(task, data)
        later = {k: float(v) for k, v in trainer.callback_metrics.items() if k.endswith("/val")}
        torch.save((metrics, later), f"rank{trainer.global_rank}_of_{devices}.pt")
"""


@pytest.mark.slow
def test_two_processes_measure_and_draw_what_one_does(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(DDP))
    root = os.path.dirname(os.path.dirname(__file__))
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    for devices in ("1", "2"):
        result = subprocess.run(
            [sys.executable, str(script), devices],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr[-3000:]
    (one, _), (first, fit_first), (second, fit_second) = (
        torch.load(tmp_path / f"rank{rank}_of_{devices}.pt")
        for rank, devices in ((0, 1), (0, 2), (1, 2))
    )
    # Counts are whole numbers, so the scores are equal to the last bit; losses are sums of floats.
    for tag, value in one.items():
        if tag.startswith("loss"):
            continue
        assert first[tag] == second[tag]
        assert first[tag] == value or (first[tag] != first[tag] and value != value), tag
    assert fit_first == pytest.approx(fit_second, nan_ok=True)
    assert set(fit_first) == set(fit_second)
    assert curves(tmp_path / "runs1") == curves(tmp_path / "runs2")
    errors = [
        read_events(min((tmp_path / f"runs{n}").rglob("version_*"))).Scalars(
            "metric/calibration_error/val"
        )[0]
        for n in (1, 2)
    ]
    assert errors[0].value == pytest.approx(errors[1].value, rel=1e-5)
    manifests = [list((tmp_path / f"runs{n}").rglob("manifest.json")) for n in (1, 2)]
    assert [len(found) for found in manifests] == [1, 1]
    names = [read_images(tmp_path / f"runs{devices}") for devices in (1, 2)]
    assert names[0] == names[1]
    assert len(names[0]) == 4 + 4 + 2  # chosen, worst, confusion, calibration


def curves(folder):
    """Counts of the precision-recall curves of the validation before training."""
    events = read_events(min(folder.rglob("version_*")))
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("pr/")]
    assert len(tags) > 1
    return {tag: make_ndarray(events.Tensors(tag)[0].tensor_proto)[:4].tolist() for tag in tags}


def read_images(folder):
    found = {}
    for path in sorted(folder.rglob("version_*")):
        events = read_events(path)
        found |= {tag: len(events.Images(tag)) for tag in events.Tags()["images"]}
    return found
