"""A resumed run equals the run that was never stopped."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

from lightning import Callback, LightningModule, Trainer

from ..internals import WatchedFetcher, validates_next, watch_fetcher
from ..notices import Notices
from ..random_states import Generator, RandomStates, find_generators
from ._exact_state import gathered, gradients_of, own_part, restore_gradients
from ._idle_hooks import skip_idle_hooks
from ._two_packages import refuse_other_lightning

__all__ = ["ExactResume"]


class ExactResume(Callback):
    """Keep random states in each checkpoint, so that a resumed run equals one that never stopped.

    Lightning's checkpoints hold weights, optimizers and counters, but no random states, and a
    run resumed within an epoch restarts its data. With this callback a run on a CPU that is stopped
    at any step and resumed from its last checkpoint ends with bitwise identical weights, with
    shuffling, augmentation and dropout, with and without workers, under gradient accumulation, and
    in several processes.

    A checkpoint holds the states of Python, NumPy, torch and CUDA in each process, and those of all
    generators held by loaders, samplers, datasets, transforms, the data module and the module.
    Within an epoch, the loaders restart from the same states, and the batches already seen are
    loaded and skipped, which takes the time of loading them. A ``DataLoader`` is recommended; with
    this callback torchdata's StatefulDataLoader is as exact, but without it neither is, and over
    an iterable dataset it resumes by its own state, without skipping, which may not be exact.

    Random numbers drawn between two batches, in validation, at the start of an epoch or by a
    callback, do not affect training, which continues from the states after the last batch. List
    this callback first, so that a resumed run repeats those draws, too. The states of worker
    processes cannot be read, so ``persistent_workers`` end with the epoch; the first ones of a fit
    are started twice.

    Not exact are: nondeterministic CUDA kernels (use ``Trainer(deterministic=True)``); iterable
    datasets that do not always start at the same sample; counters that a dataset or a module keeps
    in plain attributes; means over an interrupted epoch, which Lightning computes from its second
    part; gradients of an unfinished accumulation in several processes; a module that takes
    ``dataloader_iter``; and a run resumed with other data, batch size or number of processes, which
    raises a warning.
    """

    def __init__(self) -> None:
        super().__init__()
        skip_idle_hooks(self)
        self._loaded: dict[str, Any] | None = None
        self._last: tuple[dict[str, Any], dict[str, Any]] | None = None  # of a fit that ended
        self._forget()

    def _forget(self) -> None:
        self._fit: tuple[Trainer, LightningModule] | None = None
        self._generators: dict[str, Generator] = {}
        self._begun: RandomStates | None = None  # when this epoch's iterator was created
        self._asked: RandomStates | None = None  # when its first batch was requested
        self._stream: RandomStates | None = None  # after the last batch
        self._strayed = False  # whether anything else may have drawn since then
        self._in_batch = False
        self._configured = 1  # accumulate_grad_batches, before any callback changes it
        self._starts = False  # whether the next batch is the first of this fit
        self._resumed: dict[str, Any] | None = None
        self._quiet: warnings.catch_warnings[None] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard the state of an earlier fit."""
        refuse_other_lightning(self, trainer, pl_module)
        self._loaded = None
        if stage == "fit":
            self._last = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random states of the checkpoint."""
        loaded, self._loaded = self._loaded, None
        self._forget()
        self._fit = trainer, pl_module
        self._configured = trainer.accumulate_grad_batches
        self._starts = True
        self._watch()
        if loaded is None:
            return
        self._resumed = own_part(loaded, trainer, self._configured)
        if self._resumed is not None:
            self._stream = RandomStates.from_plain(self._resumed["stream"])
            self._strayed = True
            self._return()
            # Lightning warns that the loader cannot be resumed; here it is.
            self._quiet = warnings.catch_warnings()
            self._quiet.__enter__()
            warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that end")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch from the states after the last batch."""
        self._watch()  # loaders may have been recreated
        self._return()
        self._strayed = True  # Lightning skips this hook after some stops

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Keep the random states."""
        self._stream = RandomStates.now(self._generators)
        self._strayed, self._in_batch = True, False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random states after the last batch."""
        self._return()
        self._strayed = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Release the run."""
        self._speak_again()
        if self._fit is not None:
            self._last = self._state()
        self._forget()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Show warnings again; the states are kept for a checkpoint saved on the exception."""
        with Notices(type(self).__name__).after_error("show warnings again"):
            self._speak_again()

    def state_dict(self) -> dict[str, Any]:
        """Return the random states of all processes; must be called in each of them.

        In a checkpoint saved on an exception, which may have occurred in one process, while the
        others would be awaited forever, those of this process.
        """
        state = self._last if self._fit is None else self._state()
        if state is None:
            return {}
        own, shared = state
        alone = self._fit is not None and self._fit[0].interrupted
        return {"ranks": [own] if alone else gathered(own), **shared}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore these states at the start of training."""
        self._loaded = state_dict or None

    # Called by the fetcher of training batches.

    def before_iterator(self, fetcher: WatchedFetcher) -> None:
        """Record the random states at the start of an epoch's data."""
        self._return()
        if any(getattr(one, "persistent_workers", False) for one in _loaders(fetcher)):
            fetcher.combined_loader.reset()
        self._find_generators(fetcher)
        self._begun = self._stream = RandomStates.now(self._generators)
        self._asked = None

    def before_batch(self, fetcher: WatchedFetcher) -> None:
        """Start the epoch's data at the run's current batch, or continue."""
        if self._starts:
            self._starts = False
            self._speak_again()
            self._start(fetcher)
        elif self._asked is None:
            self._asked = RandomStates.now(self._generators)
        else:
            self._return()

    def after_batch(self) -> None:
        """Record that a batch is in progress."""
        self._in_batch = True

    def _start(self, fetcher: WatchedFetcher) -> None:
        """Recreate the iterator, from the checkpoint's states or the current ones."""
        assert self._fit is not None
        trainer, module = self._fit
        resumed, self._resumed = self._resumed, None
        progress: Any = trainer.fit_loop.epoch_progress
        if progress.current.ready == progress.current.processed:
            # Lightning does not count the epoch it starts after a stop at the last batch, and would
            # start it again after another stop.
            progress.increment_ready()
            progress.increment_started()
        self._find_generators(fetcher)
        seen = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if resumed is not None:
            restore_gradients(module, resumed["gradients"])
            if resumed["size"] is not None:
                # Lightning skips the hook in which callbacks set it at the start of an epoch.
                trainer.accumulate_grad_batches = resumed["size"]
        if any(_resumes_itself(one) for one in _loaders(fetcher)) or hasattr(
            fetcher, "iterator_wrapper"
        ):
            self._return()
            self._begun = self._asked = RandomStates.now(self._generators)
            return
        if resumed is not None and any(_keeps_position(one) for one in _loaders(fetcher)):
            with suppress(StopIteration):
                fetcher.skip(1)  # lets the loader use up its own position, which counts no more
        fetcher.combined_loader.reset()
        if resumed is not None and seen and resumed["asked"] is not None:
            stream = RandomStates.from_plain(resumed["stream"])
            self._begun = RandomStates.from_plain(resumed["begun"])
            self._asked = RandomStates.from_plain(resumed["asked"])
            self._begun.restore(self._generators)
            fetcher.begin()
            self._asked.restore(self._generators)
            fetcher.skip(seen)
            stream.restore(self._generators)
            self._stream = stream
        else:
            if resumed is not None:
                RandomStates.from_plain(resumed["stream"]).restore(self._generators)
            self._begun = self._stream = RandomStates.now(self._generators)
            fetcher.begin()
            self._asked = RandomStates.now(self._generators)
        self._strayed = False

    # Implementation.

    def _state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the states of this process, and those common to all processes."""
        assert self._fit is not None
        trainer, module = self._fit
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress
        done = progress.current.processed == progress.current.ready
        if self._stream is None or (self._in_batch and done):
            stream = RandomStates.now(self._generators)  # a callback before this one saves
        else:
            stream = self._stream
        kept = {"begun": self._begun, "asked": self._asked, "stream": stream}
        size = trainer.accumulate_grad_batches
        between = bool(progress.current.ready % size) and not progress.is_last_batch
        # A validation zeroes gradients that are not being accumulated; a resumed run may omit it.
        wanted = between or (not module.automatic_optimization and not validates_next(trainer))
        return {name: states and states.as_plain() for name, states in kept.items()}, {
            "batches": trainer.num_training_batches,
            "accumulate_grad_batches": size,
            "configured": self._configured,
            "gradients": gradients_of(module) if wanted else {},
        }

    def _watch(self) -> None:
        assert self._fit is not None
        if watch_fetcher(self._fit[0], self):
            self._starts = True

    def _find_generators(self, fetcher: WatchedFetcher) -> None:
        assert self._fit is not None
        trainer, module = self._fit
        loaders = {f"loader.{index}": one for index, one in enumerate(_loaders(fetcher))}
        data = getattr(trainer, "datamodule", None)
        skip = (trainer, self, *trainer.callbacks, *trainer.loggers)  # type: ignore[attr-defined]
        self._generators = find_generators({**loaders, "data": data, "module": module}, skip)

    def _return(self) -> None:
        if self._strayed and self._stream is not None:
            self._stream.restore(self._generators)
        self._strayed = False

    def _speak_again(self) -> None:
        if self._quiet is not None:
            self._quiet.__exit__(None, None, None)
            self._quiet = None


def _loaders(fetcher: WatchedFetcher) -> list[object]:
    return list(fetcher.combined_loader.flattened)


def _resumes_itself(loader: object) -> bool:
    """Whether a loader restores the position of its data, which then need not be skipped to."""
    data = getattr(loader, "dataset", None)
    iterable = not hasattr(data, "__getitem__") or hasattr(data, "state_dict")
    return iterable and _keeps_position(loader)


def _keeps_position(loader: object) -> bool:
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
