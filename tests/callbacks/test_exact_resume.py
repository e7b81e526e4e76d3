"""A run stopped at any step and resumed equals one that never stopped."""

import os
import random
import subprocess
import sys
import textwrap
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from lightning_hparams import ExactResume, OneCycle
from lightning_hparams.random_states import RandomStates, find_generators
from tests.callbacks.schedule_runs import SaveEach, equal
from tests.runs import quiet_trainer

SAMPLES = 10  # in batches of 2: five steps an epoch


class Augmented(Dataset):
    """Adds random numbers of every library, and of its own generator, to each sample."""

    def __init__(self):
        self.own = np.random.default_rng(3)
        hidden = random.Random(5)
        self.transform = lambda x: x * (1 + hidden.random())

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        x = torch.full((3,), float(index))
        x = x + torch.rand(3) + random.random() + float(np.random.rand()) + self.own.random()
        return self.transform(x)


class Net(LightningModule):
    def __init__(self, manual=False):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Dropout(0.4),
            torch.nn.Linear(8, 1),
        )
        self.noise = torch.Generator().manual_seed(1)
        self.automatic_optimization = not manual

    def training_step(self, batch, batch_idx):
        noise = torch.rand(batch.shape, generator=self.noise)
        loss = (self.layers(batch / 10) + noise.mean()).square().mean()
        if self.automatic_optimization:
            return loss
        self.manual_backward(loss / 3)
        if batch_idx % 3 == 2:
            self.optimizers().step()
            self.optimizers().zero_grad()
        return None

    def validation_step(self, batch, batch_idx):
        self.log("val", self.layers(batch).mean() + torch.rand(()) + random.random())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.05)


class Draws(Callback):
    """Draws random numbers wherever it is called."""

    def draw(self, *_, **__):
        torch.rand(1)
        np.random.rand()
        random.random()

    on_train_epoch_start = on_validation_end = on_train_epoch_end = draw


class SaveAnywhere(SaveEach):
    """Saves at the end of each validation and epoch, too."""

    def save(self, trainer, where):
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}-{where}.ckpt")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}-{batch_idx}-batch.ckpt")

    def on_validation_end(self, trainer, pl_module):
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer, pl_module):
        self.save(trainer, "epoch")


def loader(workers=0, make=None, **options):
    if make is not None:
        return make(workers)
    return DataLoader(Augmented(), 2, shuffle=True, num_workers=workers, **options)


def weighted(workers):
    return DataLoader(
        Augmented(), 2, sampler=WeightedRandomSampler(torch.arange(1.0, 11.0), SAMPLES)
    )


def seeded(workers):
    generator = torch.Generator().manual_seed(7)
    return DataLoader(Augmented(), 2, shuffle=True, generator=generator, num_workers=workers)


class PythonSampler:
    """Shuffles with Python's generator, partly during iteration."""

    def __iter__(self):
        order = random.sample(range(SAMPLES), SAMPLES)
        for index in order:
            yield (index + random.randrange(2)) % SAMPLES

    def __len__(self):
        return SAMPLES


def sampled(workers):
    return DataLoader(Augmented(), 2, sampler=PythonSampler(), num_workers=workers)


def seed_all(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def run(*callbacks, data=None, epochs=2, ckpt_path=None, manual=False, exact=True, **options):
    seed_all(0)
    module = Net(manual)
    data = data or loader()
    if ckpt_path is not None:  # a new process has another random state
        seed_all(99)
    callback = OneCycle(total_steps=10 if manual else None)
    trainer = quiet_trainer(
        max_epochs=epochs,
        num_sanity_val_steps=1,
        callbacks=[*([ExactResume()] if exact else []), callback, *callbacks, LastDraws()],
        **options,
    )
    trainer.fit(module, data, DataLoader(torch.rand(4, 3), 2), ckpt_path=ckpt_path)
    return module, trainer


class LastDraws(Callback):
    """Records the random states after the last batch."""

    states = ()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.states = [
            torch.get_rng_state(),
            torch.tensor(np.random.get_state()[1].astype(np.int64)),
            torch.tensor(random.getstate()[1]),
            pl_module.noise.get_state(),
        ]


def state(module, trainer):
    """Weights, buffers, optimizer state, and random states if any batch was left."""
    (optimizer,) = trainer.optimizers
    moments = [value for one in optimizer.state.values() for value in one.values()]
    (last,) = (one for one in trainer.callbacks if isinstance(one, LastDraws))
    return [*module.state_dict().values(), *moments], last.states


def same(left, right):
    return equal(left[0], right[0]) and (not right[1] or equal(left[1], right[1]))


CASES = {
    "shuffled": {},
    "weighted": {"make": weighted},
    "a generator of its own": {"make": seeded},
    "a sampler of Python": {"make": sampled},
    "accumulated": {"accumulate_grad_batches": 3},
    "manual": {"manual": True},
    "manual, validated within the epoch": {"manual": True, "val_check_interval": 2},
    "accumulated, validated within": {"accumulate_grad_batches": 3, "val_check_interval": 2},
    "manual, never validated": {"manual": True, "limit_val_batches": 0},
    "validated within the epoch": {"val_check_interval": 2},
    "bounded by steps": {"max_steps": 10, "epochs": -1},
}


def check(tmp_path, make=None, workers=0, loader_options=None, **options):
    def data():
        return loader(workers, make, **(loader_options or {}))

    saves = SaveAnywhere(tmp_path)
    whole = state(*run(saves, Draws(), data=data(), **options))
    paths = sorted(tmp_path.glob("*.ckpt"))
    assert len(paths) >= 12
    wrong = [
        path.name
        for path in paths
        if not same(whole, state(*run(Draws(), data=data(), ckpt_path=path, **options)))
    ]
    assert wrong == []


QUICK = ("shuffled", "accumulated", "validated within the epoch")


@pytest.mark.parametrize(
    "case",
    [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
def test_a_run_stopped_anywhere_equals_one_that_never_stopped(tmp_path, case):
    check(tmp_path, **CASES[case])


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("make", [None, seeded, sampled])
def test_a_run_with_workers_resumes_exactly(tmp_path, persistent, make):
    check(tmp_path, make, 2, {"persistent_workers": persistent} if make is None else None)


def test_without_the_callback_a_resumed_run_differs(tmp_path):
    whole = state(*run(SaveAnywhere(tmp_path), exact=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = state(*run(ckpt_path=tmp_path / "0-2-batch.ckpt", exact=False))
    assert not equal(whole[0], again[0])


def test_a_run_resumed_repeatedly_equals_one_that_never_stopped(tmp_path):
    """Killed in every second batch, including the last of an epoch."""

    class Killed(BaseException):
        pass

    class Kills(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps > 2:
                raise Killed

    whole = state(*run())
    saves = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_last=True, save_top_k=0)
    path = None
    for _ in range(10):
        try:
            again = run(Kills(), saves, ckpt_path=path, enable_checkpointing=True)
            break
        except Killed:
            path = saves.last_model_path
            saves = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_last=True, save_top_k=0)
    assert same(whole, state(*again))


def test_a_checkpoint_holds_plain_types_and_is_small(tmp_path):
    run(SaveAnywhere(tmp_path))
    checkpoint = torch.load(tmp_path / "0-2-batch.ckpt", weights_only=True)
    (own,) = (value for key, value in checkpoint["callbacks"].items() if "ExactResume" in key)
    torch.save(own, tmp_path / "own.pt")
    assert (tmp_path / "own.pt").stat().st_size < 150_000


def test_another_batch_size_or_number_of_processes_warns(tmp_path):
    run(SaveAnywhere(tmp_path))
    with pytest.warns(UserWarning, match="an epoch had 5 batches and has 4 now"):
        run(data=DataLoader(Augmented(), 2, sampler=range(8)), ckpt_path=tmp_path / "5-epoch.ckpt")
    checkpoint = torch.load(tmp_path / "5-epoch.ckpt", weights_only=True)
    (own,) = (value for key, value in checkpoint["callbacks"].items() if "ExactResume" in key)
    own["ranks"] *= 2
    torch.save(checkpoint, tmp_path / "two.ckpt")
    with pytest.warns(UserWarning, match="of 2 processes and this run has 1"):
        run(ckpt_path=tmp_path / "two.ckpt")


def test_a_run_resumes_from_a_checkpoint_saved_on_an_error(tmp_path):
    class Fails(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 3:
                raise RuntimeError("out of memory")

        def on_exception(self, trainer, pl_module, exception):
            trainer.save_checkpoint(tmp_path / "failed.ckpt")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(Fails())
    assert same(state(*run()), state(*run(ckpt_path=tmp_path / "failed.ckpt")))


# Without a Trainer


NUMPYS = ("default", "philox", "twister", "legacy")


def generators():
    return {
        "torch": torch.Generator().manual_seed(1),
        "default": np.random.default_rng(2),
        "philox": np.random.Generator(np.random.Philox(3)),
        "twister": np.random.Generator(np.random.MT19937(4)),
        "legacy": np.random.RandomState(5),
        "python": random.Random(6),
    }


def draws(found):
    return [
        torch.rand(3).tolist(),
        np.random.rand(3).tolist(),
        [random.gauss(0, 1) for _ in range(3)],
        torch.rand(3, generator=found["torch"]).tolist(),
        found["python"].random(),
        *(
            found[name].normal(size=3).tolist()
            for name in ("default", "philox", "twister", "legacy")
        ),
    ]


def test_states_survive_a_file_of_plain_types(tmp_path):
    found = generators()
    random.gauss(0, 1)  # which keeps a second number
    states = RandomStates.now(found)
    torch.save(states.as_plain(), tmp_path / "states.pt")
    expected = draws(found)
    assert draws(found) != expected
    plain = torch.load(tmp_path / "states.pt", weights_only=True)
    RandomStates.from_plain(plain).restore(found)
    assert draws(found) == expected


def test_generators_are_found_wherever_a_loader_holds_them():
    hidden, given, bound = (np.random.default_rng(seed) for seed in range(3))

    class Owner:
        def __init__(self):
            self.rng = bound

        def collate(self, samples):
            return samples

    data = Augmented()
    data.transforms = [lambda x: hidden.random(), partial(max, key=given)]
    data.samples = [random.Random(0)] * 1000  # data
    made = DataLoader(data, generator=torch.Generator(), collate_fn=Owner().collate)
    found = {id(one) for one in find_generators({"loader": made}).values()}
    assert {id(hidden), id(given), id(bound), id(data.own), id(made.generator)} <= found
    assert id(data.samples[0]) not in found
    data.itself = data  # a reference cycle
    assert find_generators({"loader": made}, skip=(data,)).keys() == {
        "loader.generator",
        "loader.collate_fn.self.rng",
    }


# Two processes

DDP = """
    import sys, torch, lightning
    from lightning_hparams import ExactResume, OneCycle
    from tests.callbacks.test_exact_resume import Augmented, LastDraws, Net, seed_all
    from torch.utils.data import DataLoader

    if __name__ == "__main__":
        name, epochs, path = sys.argv[1], int(sys.argv[2]), (sys.argv[3:] or [None])[0]
        seed_all(0)
        module = Net()
        last = LastDraws()
        trainer = lightning.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=epochs, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[ExactResume(), OneCycle(total_steps=9), last],
        )
        seed_all(trainer.global_rank + (50 if path else 0))  # each process draws its own
        loader = DataLoader(Augmented(), 2, shuffle=True, drop_last=True)
        trainer.fit(module, loader, ckpt_path=path)
        trainer.save_checkpoint(f"{name}.ckpt")
        end = [p.detach() for p in module.parameters()]
        torch.save((end, last.states), f"{name}{trainer.global_rank}.pt")
"""


@pytest.mark.slow
def test_two_resumed_processes_equal_those_that_never_stopped(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(DDP))
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    for arguments in (["whole", "3"], ["part", "1"], ["again", "3", "part.ckpt"]):
        result = subprocess.run(
            [sys.executable, str(script), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr[-3000:]
    for rank in (0, 1):
        whole, again = (torch.load(tmp_path / f"{name}{rank}.pt") for name in ("whole", "again"))
        assert same(whole, again)
    first, second = (torch.load(tmp_path / f"whole{rank}.pt")[1] for rank in (0, 1))
    assert not equal(first[:1], second[:1])


def test_a_checkpoint_saved_on_an_exception_awaits_no_other_process(tmp_path, monkeypatch):
    """The others may be waiting for this one."""
    monkeypatch.setattr("lightning_hparams.callbacks.exact_resume.gathered", lambda own: 1 / 0)

    class Crash(BoringModel):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("crash")

    class Saving(Callback):
        def on_exception(self, trainer, pl_module, exception):
            trainer.save_checkpoint(tmp_path / "kept.ckpt")

    trainer = quiet_trainer(callbacks=[Saving(), ExactResume()])
    with pytest.raises(RuntimeError, match="crash"):
        trainer.fit(Crash(), DataLoader(torch.ones(2, 32)))
    kept = torch.load(tmp_path / "kept.ckpt", weights_only=True)
    assert len(kept["callbacks"]["ExactResume"]["ranks"]) == 1
