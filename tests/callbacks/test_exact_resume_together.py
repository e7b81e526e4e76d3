"""A run with all callbacks that is stopped and resumed equals one that never stopped."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning import LightningModule
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision.transforms import v2

from lightning_hparams import (
    Cyclic,
    ExactResume,
    LRRangeTest,
    MetricMonitor,
    OneCycle,
    ParamScheduler,
    PredictionMonitor,
    RunRecorder,
    SpeedMonitor,
)
from tests.callbacks.test_exact_resume import LastDraws, SaveAnywhere, same, seed_all
from tests.runs import quiet_trainer


class Pictures(Dataset):
    """Images in changing colours with noise, and masks."""

    augment = v2.Compose([v2.ColorJitter(0.1), v2.GaussianNoise(sigma=0.05)])

    def __init__(self, count=10, train=True):
        generator = torch.Generator().manual_seed(count)
        self.images = torch.rand(count, 3, 8, 8, generator=generator).round()
        self.train = train

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        mask = (image[0] > 0.5).long()
        return (self.augment(image) if self.train else image), mask


class Foreign(LightningModule):
    """A module that knows nothing of this package, and that draws in evaluation, too."""

    def __init__(self, lr=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1),
            torch.nn.BatchNorm2d(8),
            torch.nn.Dropout2d(0.2),
            torch.nn.Conv2d(8, 2, 1),
        )
        self.noise = torch.Generator().manual_seed(1)

    def forward(self, x):
        x = x + 0.02 * torch.rand(x.shape, generator=self.noise)
        return F.dropout(self.layers(x), 0.05, training=True)

    def training_step(self, batch, batch_idx):
        x, mask = batch
        loss = F.cross_entropy(self(x), mask)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, mask = batch
        self.log("val", F.cross_entropy(self(x), mask))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), self.hparams.lr)


def fit(folder, *callbacks, ckpt_path=None, exact=True, workers=0, data=None, **options):
    seed_all(0)
    module = Foreign()
    data = data() if data else DataLoader(Pictures(), 2, shuffle=True, num_workers=workers)
    if ckpt_path is not None:
        seed_all(99)
    trainer = quiet_trainer(
        callbacks=[*([ExactResume()] if exact else []), *callbacks, LastDraws()],
        log_every_n_steps=2,
        **{"max_epochs": 2, "logger": TensorBoardLogger(folder), **options},
    )
    trainer.fit(module, data, DataLoader(Pictures(4, train=False), 2), ckpt_path=ckpt_path)
    return module, trainer


def state(module, trainer):
    """Weights, buffers, the optimizer's state, its rates, and the random states."""
    (optimizer,) = trainer.optimizers
    moments = [value for one in optimizer.state.values() for value in one.values()]
    rates = [torch.tensor(group["lr"]) for group in optimizer.param_groups]
    (last,) = (one for one in trainer.callbacks if isinstance(one, LastDraws))
    return [*module.state_dict().values(), *moments, *rates], last.states


def everything():
    return [
        LRRangeTest(num_steps=60),
        OneCycle(),
        MetricMonitor(norms=True),
        SpeedMonitor(),
        PredictionMonitor(2, worst_k=1, adapter="segmentation", schedule="every"),
        RunRecorder(),
    ]


QUICK = ["0-1-batch.ckpt", "5-validation.ckpt", "5-epoch.ckpt", "1-2-batch.ckpt"]


def check(tmp_path, make, only=None, **options):
    (tmp_path / "saves").mkdir()
    saves = SaveAnywhere(tmp_path / "saves")
    whole = state(*fit(tmp_path, *make(), saves, **options))
    paths = sorted((tmp_path / "saves").glob("*.ckpt"))
    assert len(paths) >= 12
    chosen = [path for path in paths if only is None or path.name in only]
    assert len(chosen) == len(only or paths)
    wrong = [
        path.name
        for path in chosen
        if not same(whole, state(*fit(tmp_path, *make(), ckpt_path=path, **options)))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("workers", "only"), [(0, QUICK), pytest.param(2, None, marks=pytest.mark.slow)]
)
def test_a_run_with_all_callbacks_equals_one_that_never_stopped(tmp_path, workers, only):
    check(tmp_path, everything, only, workers=workers)


def test_so_does_one_whose_accumulation_changes(tmp_path):
    """With a schedule of accumulation, and one of the weight decay beside that of the rate."""

    def make():
        return [
            GradientAccumulationScheduler({0: 2, 1: 3}),
            Cyclic(1e-3, 1e-2, step_size_up=2, total_steps=5),
            ParamScheduler("polynomial", "weight_decay", 5),
        ]

    check(tmp_path, make, ["0-2-batch.ckpt", "3-epoch.ckpt", "1-3-batch.ckpt"])


class Worker:
    """A generator of each kind in the dataset, which each worker seeds for itself."""

    def __init__(self):
        self.numpy = np.random.default_rng(3)
        self.torch = torch.Generator().manual_seed(4)

    def __call__(self, image):
        noise = torch.rand(image.shape, generator=self.torch)
        return image * float(self.numpy.uniform(0.8, 1.2)) + 0.1 * noise


class WorkerPictures(Pictures):
    def __init__(self):
        super().__init__()
        self.augment = Worker()


def seed_worker(index):
    """As the documentation of torch advises."""
    own = get_worker_info().dataset.augment
    own.numpy = np.random.default_rng(torch.initial_seed())
    own.torch.manual_seed(torch.initial_seed() % 2**32)


@pytest.mark.slow
@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("persistent", [True, False])
def test_so_does_one_whose_workers_have_generators(tmp_path, seeded, persistent):
    def data():
        return DataLoader(
            WorkerPictures(),
            2,
            shuffle=True,
            num_workers=2,
            persistent_workers=persistent,
            worker_init_fn=seed_worker if seeded else None,
        )

    check(tmp_path, lambda: [OneCycle()], data=data)


class Stateful(DataLoader):
    """Resumes by itself within an epoch, in the order that it draws then."""

    seen = start = 0

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.start = state["seen"]

    def __iter__(self):
        start, self.start = self.start, 0
        for index, batch in enumerate(super().__iter__()):
            self.seen = index + 1
            if index >= start:
                yield batch


def test_so_does_one_whose_loader_resumes_by_itself(tmp_path):
    def data():
        return Stateful(Pictures(), 2, shuffle=True)

    check(tmp_path, lambda: [OneCycle()], QUICK[:1], data=data, accumulate_grad_batches=3)


def test_another_accumulation_takes_effect_in_a_resumed_run(tmp_path):
    fit(tmp_path, SaveAnywhere(tmp_path), accumulate_grad_batches=2)
    path = tmp_path / "0-2-batch.ckpt"
    _, trainer = fit(tmp_path, ckpt_path=path, accumulate_grad_batches=1)
    assert trainer.global_step == 1 + 2 + 5  # one taken, two batches left, and an epoch


def test_ready_made_adapters_leave_training_as_it_is(tmp_path):
    """Their forward passes draw random numbers, of the process and of the module's generator."""
    pictures = PredictionMonitor(2, adapter="segmentation", schedule="every")
    with_it = state(*fit(tmp_path, pictures, exact=False))
    assert same(with_it, state(*fit(tmp_path, exact=False)))


KILLED = """
    import os, signal, sys, torch
    from lightning import Callback
    from lightning.pytorch.callbacks import ModelCheckpoint
    from tests.callbacks.test_exact_resume_together import everything, fit, state

    folder, killed_at, path = sys.argv[1], int(sys.argv[2]), (sys.argv[3:] or [None])[0]

    class Kill(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

    saves = ModelCheckpoint(folder, save_last=True, every_n_train_steps=1, save_top_k=0)
    options = {"enable_checkpointing": True, "workers": 2, "ckpt_path": path}
    torch.save(state(*fit(folder, *everything(), Kill(), saves, **options)), f"{folder}/end.pt")
"""


@pytest.mark.slow
def test_a_process_that_was_killed_goes_on_in_another(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(KILLED))
    root = Path(__file__).parents[2]

    def start(folder, *arguments):
        (tmp_path / folder).mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, script, folder, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    whole = start("whole", -1)
    assert whole.returncode == 0, whole.stderr[-3000:]
    assert start("part", 3).returncode == -signal.SIGKILL
    last = tmp_path / "part" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] in (2, 3)
    assert start("part", 7, last).returncode == -signal.SIGKILL
    again = start("part", -1, last)
    assert again.returncode == 0, again.stderr[-3000:]
    assert same(*(torch.load(tmp_path / name / "end.pt") for name in ("whole", "part")))
