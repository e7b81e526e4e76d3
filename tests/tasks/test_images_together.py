"""Two processes evaluate classes and values as one does, and count each image once."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

SCRIPT = """
    import sys, torch
    from torch.utils.data import DataLoader
    from tests.runs import quiet_trainer
    from lightning_hparams import ClassificationTask, RegressionTask

    if __name__ == "__main__":
        devices = int(sys.argv[1])
        found = []
        for kind, options in ((ClassificationTask, {"num_classes": 7}), (RegressionTask, {})):
            torch.manual_seed(0)
            samples = [
                {"image": torch.rand(3, 16, 16), "label": torch.tensor(k), "index": k,
                 "value": torch.tensor(1e3 + k)} for k in range(5)
            ]
            task = kind("test_resnet", image_size=16, **options)
            trainer = quiet_trainer(devices=devices, strategy="ddp" if devices > 1 else "auto")
            trainer.validate(task, DataLoader(samples, batch_size=2), verbose=False)
            metric = task.val_pairs if kind is RegressionTask else task.val_counts
            values = {k: float(v) for k, v in trainer.callback_metrics.items()}
            found.append((values, metric.compute()))
        torch.save(found, f"{trainer.global_rank}_of_{devices}.pt")
"""


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    for devices in "12":
        command = [sys.executable, "script.py", devices]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=300)
    one = torch.load(tmp_path / "0_of_1.pt")
    for rank in (0, 1):
        for (values, counts), (ours, mine) in zip(
            torch.load(tmp_path / f"{rank}_of_2.pt"), one, strict=True
        ):
            assert counts.sum() == 5
            assert torch.equal(counts, mine)
            assert values == pytest.approx(ours, rel=1e-5, nan_ok=True)
