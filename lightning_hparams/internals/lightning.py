"""Private attributes of Lightning: Trainer, loops, strategies, modules and loggers."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from .internal import Internal

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer
    from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
    from lightning.pytorch.strategies import DDPStrategy, Strategy
    from lightning.pytorch.utilities.combined_loader import CombinedLoader

__all__ = [
    "INTERNALS",
    "FetchWatcher",
    "WatchedFetcher",
    "adopt_run",
    "compiles_itself",
    "current_run",
    "ddp_arguments",
    "detects_anomalies",
    "epoch_values",
    "evaluation_loader",
    "fit_data",
    "forget_finished",
    "has_run",
    "initial_hparams",
    "log_step",
    "mlflow_client",
    "omit_hp_metric",
    "replace_fetch_marks",
    "run_in_this_process",
    "run_name",
    "set_log_step",
    "syncs_batchnorm",
    "tag_prefix",
    "to_device",
    "uses_distributed_sampler",
    "validates_next",
    "watch_fetcher",
]

_Batch = TypeVar("_Batch")
_Mark: TypeAlias = Callable[[], None]

_LOG_STEP = Internal(
    "lightning",
    "Trainer",
    "fit_loop.epoch_loop._batches_that_stepped",
    "to write at the steps at which Lightning writes; `global_step` counts each of several "
    "optimizers, and Lightning's own LearningRateMonitor reads the same counter",
)
_TRAINING_VALUES = Internal(
    "lightning",
    "Trainer",
    "fit_loop.epoch_loop._results",
    "to know during an epoch what the module will log at its end: `logged_metrics` has it only "
    "then",
)
_TRAIN_SOURCE = Internal(
    "lightning",
    "Trainer",
    "fit_loop._data_source",
    "to find the data passed to `fit` before the Trainer has wrapped them",
)
_VAL_SOURCE = Internal(
    "lightning",
    "Trainer",
    "fit_loop.epoch_loop.val_loop._data_source",
    "to find the data passed to `fit` before the Trainer has wrapped them",
)
_EVALUATION_LOADER = Internal(
    "lightning",
    "Trainer",
    "_evaluation_loop._combined_loader",
    "to find the loaders in use: in a `validate` after `fit`, `val_dataloaders` are still those of "
    "`fit`",
)
_ANOMALIES = Internal(
    "lightning", "Trainer", "_detect_anomaly", "to make another Trainer like the user's"
)
_SAMPLER = Internal(
    "lightning",
    "Trainer",
    "_accelerator_connector.use_distributed_sampler",
    "to make another Trainer like the user's",
)
_DDP_ARGUMENTS = Internal(
    "lightning", "DDPStrategy", "_ddp_kwargs", "to make another Trainer like the user's"
)
_LAYER_SYNC = Internal(
    "lightning", "DDPStrategy", "_layer_sync", "to make another Trainer like the user's"
)
_LAUNCHER = Internal(
    "lightning",
    "DDPStrategy",
    "_configure_launcher",
    "to use the processes that are already running, however they were started",
)
_BEFORE_TRANSFER = Internal(
    "lightning",
    "LightningModule",
    "_on_before_batch_transfer",
    "to move a batch to the device as the Trainer does, through the user's hooks",
)
_TRANSFER = Internal(
    "lightning",
    "LightningModule",
    "_apply_batch_transfer_handler",
    "to move a batch to the device as the Trainer does, through the user's hooks",
)
_INITIAL_HPARAMS = Internal(
    "lightning",
    "HyperparametersMixin",
    "_hparams_initial",
    "to show loggers a rate that was found before the optimizers were created: the public property "
    "returns a copy",
)
_COMPILED = Internal(
    "lightning",
    "LightningModule",
    "_compiler_ctx",
    "to recognise a compiled module, whose functions cannot be copied",
)
_BEFORE_FETCH = Internal(
    "lightning",
    "TrainingEpochLoop",
    "_on_before_fetch",
    "to tell waiting for data from what callbacks do between two batches",
)
_AFTER_FETCH = Internal(
    "lightning",
    "TrainingEpochLoop",
    "_on_after_fetch",
    "to tell waiting for data from what callbacks do between two batches",
)
_FETCHER = Internal(
    "lightning",
    "Trainer",
    "fit_loop._data_fetcher",
    "to start an epoch at the batch where a run was stopped; Lightning starts at the first",
)
_SHOULD_VALIDATE = Internal(
    "lightning",
    "TrainingEpochLoop",
    "_should_check_val_fx",
    "to know whether a validation, which zeroes the gradients, follows the current batch",
)
_START_MARK = Internal(
    "lightning",
    "DataFetcher",
    "_start_profiler",
    "to keep batches that are loaded a second time out of measurements",
)
_STOP_MARK = Internal(
    "lightning",
    "DataFetcher",
    "_stop_profiler",
    "to keep batches that are loaded a second time out of measurements",
)
_PREFIX = Internal("lightning", "Logger", "_prefix", "to name values as the logger does")
_HP_METRIC = Internal(
    "lightning",
    "TensorBoardLogger",
    "_default_hp_metric",
    "to omit a record that would hide all other metrics of TensorBoard's HParams page",
)
_CLIENT = Internal(
    "lightning",
    "MLFlowLogger",
    "_mlflow_client",
    "to write in another thread: `experiment` may begin a run",
)
_RUN_ID = Internal(
    "lightning",
    "MLFlowLogger",
    "_run_id",
    "to continue the run that a checkpoint belongs to, rather than a new one",
)
_RUN_NAME = Internal(
    "lightning", "MLFlowLogger", "_run_name", "to know whether the user named the run"
)
_INITIALIZED = Internal(
    "lightning",
    "MLFlowLogger",
    "_initialized",
    "to keep the status of a run from being overwritten",
)

INTERNALS = [value for value in list(vars().values()) if isinstance(value, Internal)]


# -- Trainer ---------------------------------------------------------------------------------------


def log_step(trainer: Trainer) -> int:
    """Return the step at which Lightning would now write a value passed to ``self.log``.

    It counts the batches that ended in an optimizer step, from 0: a validation after ``n`` steps is
    written at ``n - 1``. ``trainer.global_step`` is one ahead by then, and counts each of several
    optimizers, so on that axis our values would be off by one step from Lightning's, or at twice
    the step.
    """
    step: int = _LOG_STEP.read(trainer)
    return step


def epoch_values(trainer: Trainer) -> set[str]:
    """Return the names of values that the module logs at the end of a training epoch."""
    logged = (value.meta for value in _TRAINING_VALUES.read(trainer).values())
    return {meta.name for meta in logged if meta.on_epoch and meta.logger}


def set_log_step(trainer: Trainer, step: int) -> None:
    """Change :func:`log_step`, by which Lightning does nothing but log."""
    _LOG_STEP.write(trainer, step)


def fit_data(trainer: Trainer) -> tuple[Any, Any]:
    """Return the training and validation data passed to ``fit``; None if the module has them."""
    sources = _TRAIN_SOURCE.read(trainer), _VAL_SOURCE.read(trainer)
    train, val = (None if source.is_module() else source.instance for source in sources)
    return train, val


def evaluation_loader(trainer: Trainer) -> Any:
    """Return the first loader of the current validation or test; None before it begins."""
    combined = _EVALUATION_LOADER.read(trainer)
    return None if combined is None else combined.flattened[0]


def detects_anomalies(trainer: Trainer) -> bool:
    """Return the Trainer's ``detect_anomaly``."""
    return bool(_ANOMALIES.read(trainer))


def uses_distributed_sampler(trainer: Trainer) -> bool:
    """Return the Trainer's ``use_distributed_sampler``."""
    return bool(_SAMPLER.read(trainer))


def replace_fetch_marks(
    loop: object, wrap: Callable[[_Mark, _Mark], tuple[_Mark, _Mark]]
) -> Callable[[], None]:
    """Replace the two methods with which a loop marks a fetch for its profiler.

    Args:
        loop: A training epoch loop or an evaluation loop.
        wrap: Takes the methods before and after a fetch, and returns their replacements.

    Returns:
        A function that restores the methods.
    """
    before, after = wrap(_BEFORE_FETCH.read(loop), _AFTER_FETCH.read(loop))
    _BEFORE_FETCH.write(loop, before)
    _AFTER_FETCH.write(loop, after)

    def undo() -> None:
        # Not through `__dict__`: once it exists as a dict, Python reads attributes more slowly.
        for mark in (_BEFORE_FETCH, _AFTER_FETCH):
            with suppress(AttributeError):  # another callback may have restored them
                delattr(loop, mark.path)

    return undo


class FetchWatcher(Protocol):
    """Observer of the fetcher of training batches."""

    def before_iterator(self, fetcher: WatchedFetcher) -> None:
        """Called before Lightning creates the iterator of an epoch."""

    def before_batch(self, fetcher: WatchedFetcher) -> None:
        """Called before Lightning requests a batch."""

    def after_batch(self) -> None:
        """Called after Lightning received a batch."""


class WatchedFetcher:
    """The part of Lightning's fetcher of training batches that a watcher uses."""

    def __init__(self, fetcher: Any) -> None:
        self._fetcher = fetcher
        self._kind = type(fetcher)

    @property
    def combined_loader(self) -> CombinedLoader:
        """The combined training loaders."""
        loader: CombinedLoader = self._fetcher.combined_loader
        return loader

    @property
    def hands_out_iterator(self) -> bool:
        """Whether the module fetches batches itself, through ``dataloader_iter``."""
        return hasattr(self._fetcher, "iterator_wrapper")

    def begin(self) -> None:
        """Create the iterator as Lightning does, without resetting the number of batches."""
        fetched = self._fetcher.fetched
        self._kind.__iter__(self._fetcher)
        self._fetcher.fetched = fetched

    def skip(self, batches: int) -> None:
        """Load and discard batches, hidden from profilers and monitors."""
        fetched = self._fetcher.fetched
        marks = {mark: mark.read(self._fetcher) for mark in (_START_MARK, _STOP_MARK)}
        try:
            for mark in marks:
                mark.write(self._fetcher, _nothing)
            self._fetcher.fetched = 0  # or it might consider itself exhausted
            for _ in range(batches):
                self._kind.__next__(self._fetcher)
        finally:
            for mark, before in marks.items():
                mark.write(self._fetcher, before)
        self._fetcher.fetched = fetched


def validates_next(trainer: Trainer) -> bool:
    """Whether a validation follows the current batch of training."""
    loop = trainer.fit_loop.epoch_loop
    return bool(_SHOULD_VALIDATE.read(loop)(_FETCHER.read(trainer)))


def watch_fetcher(trainer: Trainer, watcher: FetchWatcher) -> bool:
    """Attach a watcher to the fetcher of training batches; False if there is one already."""
    fetcher = _FETCHER.read(trainer)
    kind = type(fetcher)
    if "watched" in vars(kind):
        return False
    watched = WatchedFetcher(fetcher)

    def make_iterator(self: Any) -> Any:
        watcher.before_iterator(watched)
        return kind.__iter__(self)

    def next_batch(self: Any) -> Any:
        watcher.before_batch(watched)
        batch = kind.__next__(self)
        watcher.after_batch()
        return batch

    # Python looks up these two methods on the class, so the fetcher needs a class of its own.
    methods = {"__iter__": make_iterator, "__next__": next_batch, "watched": watched}
    fetcher.__class__ = type(kind.__name__, (kind,), methods)
    return True


def _nothing() -> None:
    pass


# -- strategies ------------------------------------------------------------------------------------


def ddp_arguments(strategy: DDPStrategy) -> dict[str, Any]:
    """Return the arguments for torch's ``DistributedDataParallel``."""
    return dict(_DDP_ARGUMENTS.read(strategy))


def syncs_batchnorm(strategy: Strategy) -> bool:
    """Return the Trainer's ``sync_batchnorm``; False for strategies of a single process."""
    return getattr(strategy, _LAYER_SYNC.path, None) is not None


def run_in_this_process(strategy: DDPStrategy) -> None:
    """Keep a strategy from starting processes."""
    _LAUNCHER.write(strategy, lambda: None)


# -- modules ---------------------------------------------------------------------------------------


def to_device(module: LightningModule, batch: _Batch) -> _Batch:
    """Move a batch to the module's device through its transfer hooks."""
    ready = _BEFORE_TRANSFER.read(module)(batch, 0)
    moved: _Batch = _TRANSFER.read(module)(ready, dataloader_idx=0)
    return moved


def initial_hparams(owner: object) -> MutableMapping[str, Any] | None:
    """Return the hyperparameters that a (data) module shows to loggers; None if it saved none."""
    return getattr(owner, _INITIAL_HPARAMS.path, None)


def compiles_itself(module: object) -> bool:
    """Whether a LightningModule was compiled with ``torch.compile``."""
    return getattr(module, _COMPILED.path, None) is not None


# -- loggers ---------------------------------------------------------------------------------------


def tag_prefix(logger: Logger) -> str:
    """Return the prefix that a logger adds to the name of each value."""
    prefix = _PREFIX.read(logger)
    return f"{prefix}{logger.LOGGER_JOIN_CHAR}" if prefix else ""  # type: ignore[attr-defined]


def omit_hp_metric(logger: TensorBoardLogger) -> None:
    """Keep a logger from writing ``hp_metric``."""
    _HP_METRIC.write(logger, False)


def mlflow_client(logger: MLFlowLogger) -> Any:
    """Return the client of a logger without starting a run."""
    return _CLIENT.read(logger)


def current_run(logger: MLFlowLogger) -> str:
    """Return the id of a logger's run, starting one if necessary."""
    if _RUN_ID.read(logger) is None:
        _ = logger.experiment
    return str(_RUN_ID.read(logger))


def has_run(logger: MLFlowLogger) -> bool:
    """Whether a logger already has a run; this does not start one."""
    return _RUN_ID.read(logger) is not None


def run_name(logger: MLFlowLogger) -> str | None:
    """Return the run name that was passed to a logger, if any."""
    name: str | None = _RUN_NAME.read(logger)
    return name


def adopt_run(logger: MLFlowLogger, run_id: str) -> None:
    """Make a logger write to an existing run."""
    _RUN_ID.write(logger, run_id)


def forget_finished(logger: MLFlowLogger) -> None:
    """Make a logger's ``finalize`` do nothing until it is used again."""
    _INITIALIZED.write(logger, False)
