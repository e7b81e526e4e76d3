"""A run that is killed with -9 again and again, and goes on from its last checkpoint.

``python -m tests.kills FOLDER [TRACKING_URI]`` is one process of it.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

STEPS = 6  # of an epoch
EPOCHS = 40


def process(root, uri):
    """Train until the end, or until killed."""
    import torch
    from lightning import Trainer, seed_everything
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.demos.boring_classes import BoringModel
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
    from torch.utils.data import DataLoader

    from lightning_hparams import MetricMonitor, RunRecorder, SpeedMonitor, mlflow_logger

    class Slow(BoringModel):
        def training_step(self, batch, batch_idx):
            time.sleep(0.02)
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    seed_everything(0, verbose=False)
    loggers = [CSVLogger(root, "csv", 0), TensorBoardLogger(root, "board", 0)]
    if uri:
        loggers.append(mlflow_logger(uri))
    saving = ModelCheckpoint(root / "kept", save_last=True, every_n_train_steps=5, save_top_k=1)
    trainer = Trainer(
        accelerator="cpu", logger=loggers, max_epochs=EPOCHS, log_every_n_steps=1,
        callbacks=[MetricMonitor(), SpeedMonitor(), RunRecorder(), saving],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    data = DataLoader(torch.randn(STEPS, 32)), DataLoader(torch.randn(2, 32))
    last = root / "kept" / "last.ckpt"
    trainer.fit(Slow(), *data, ckpt_path=last if last.exists() else None)


def killed(root, uri=None, kills=3, seconds=4.0):
    """Run it, kill it ``kills`` times, and let it end."""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.kills", str(root), *([uri] if uri else [])]
    for number in range(kills + 1):
        running = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL, cwd=root)
        checkpoint, before = root / "kept" / "last.ckpt", None
        if number < kills:
            before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
            end = time.monotonic() + 120
            while time.monotonic() < end:  # until it has gone on from its last checkpoint
                if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                    break
                time.sleep(0.01)
            time.sleep(0.05 + 0.11 * (number % 5))
            os.kill(running.pid, signal.SIGKILL)
        running.wait(300)
    assert running.returncode == 0


def written(root, uri=None):
    """How often each value stands in each of the loggers: ``{(tag, step): times}``."""
    from tests.runs import read_events

    lines = (root / "csv/version_0/scalars.csv").read_text().splitlines()[1:]
    found = {"csv": Counter((t, int(s)) for s, t, _ in (line.split(",") for line in lines))}
    events = read_events(root / "board/version_0")
    tags = events.Tags()["scalars"]
    found["tensorboard"] = Counter((t, p.step) for t in tags for p in events.Scalars(t))
    if uri:
        import mlflow

        client = mlflow.MlflowClient(uri)
        (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
        found["mlflow"] = Counter(
            (tag, point.step)
            for tag in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, tag)
        )
    return found


def faults(found):
    """What is lost or twice: losses and rates of all steps."""
    expected = {
        (tag, step) for tag in ("loss/train", "lr/group 0") for step in range(STEPS * EPOCHS)
    }
    return {
        name: (sorted(expected - set(values)), sorted(v for v, n in values.items() if n > 1))
        for name, values in found.items()
        if expected - set(values) or any(n > 1 for n in values.values())
    }


if __name__ == "__main__":
    process(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
