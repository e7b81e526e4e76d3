"""Private parts of Lightning: its Trainer, loops, strategies, modules and loggers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

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
    "syncs_batchnorm",
    "tag_prefix",
    "to_device",
    "uses_distributed_sampler",
    "watch_fetcher",
]

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
    "to know in a step what the module will log at the end of the epoch: `logged_metrics` has it "
    "only then",
)
_TRAIN_SOURCE = Internal(
    "lightning",
    "Trainer",
    "fit_loop._data_source",
    "to find the data that `fit` was given before the Trainer has wrapped them",
)
_VAL_SOURCE = Internal(
    "lightning",
    "Trainer",
    "fit_loop.epoch_loop.val_loop._data_source",
    "to find the data that `fit` was given before the Trainer has wrapped them",
)
_EVALUATION_LOADER = Internal(
    "lightning",
    "Trainer",
    "_evaluation_loop._combined_loader",
    "to find the loaders in use: `val_dataloaders` are those of `fit` in a later `validate`",
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
    "to run in processes that are running already, however they were started",
)
_BEFORE_TRANSFER = Internal(
    "lightning",
    "LightningModule",
    "_on_before_batch_transfer",
    "to move a batch to the device as the Trainer does, with the hooks of the user",
)
_TRANSFER = Internal(
    "lightning",
    "LightningModule",
    "_apply_batch_transfer_handler",
    "to move a batch to the device as the Trainer does, with the hooks of the user",
)
_INITIAL_HPARAMS = Internal(
    "lightning",
    "HyperparametersMixin",
    "_hparams_initial",
    "to have a rate that was found before the optimizers were made in what loggers get: the "
    "public property gives a copy",
)
_COMPILED = Internal(
    "lightning",
    "LightningModule",
    "_compiler_ctx",
    "to know a module that was compiled, whose functions cannot be copied",
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
    "to begin the data of an epoch where a stopped run was; Lightning begins them anew",
)
_START_MARK = Internal(
    "lightning",
    "DataFetcher",
    "_start_profiler",
    "to keep batches that are loaded again out of what is measured",
)
_STOP_MARK = Internal(
    "lightning",
    "DataFetcher",
    "_stop_profiler",
    "to keep batches that are loaded again out of what is measured",
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
    "to go on in the run that a checkpoint belongs to, and not in a new one",
)
_RUN_NAME = Internal(
    "lightning", "MLFlowLogger", "_run_name", "to know whether the user has named the run"
)
_INITIALIZED = Internal(
    "lightning",
    "MLFlowLogger",
    "_initialized",
    "to keep the status that a run was given from being replaced",
)

INTERNALS = [value for value in list(vars().values()) if isinstance(value, Internal)]


# -- Trainer ---------------------------------------------------------------------------------------


def log_step(trainer: Trainer) -> int:
    """The step at which Lightning would write now what a module gives to ``self.log``.

    It counts batches that ended in an optimizer step, from 0, so the first one is 0 and a
    validation after ``n`` steps stands at ``n - 1``. ``trainer.global_step`` has moved on by then,
    and counts each of several optimizers: on that axis our values would stand one step beside
    Lightning's, or at twice the step.
    """
    step: int = _LOG_STEP.read(trainer)
    return step


def epoch_values(trainer: Trainer) -> set[str]:
    """Names of what the module has loggers write at the end of a training epoch."""
    logged = (value.meta for value in _TRAINING_VALUES.read(trainer).values())
    return {meta.name for meta in logged if meta.on_epoch and meta.logger}


def fit_data(trainer: Trainer) -> tuple[Any, Any]:
    """Training and validation loaders as ``fit`` was given them; None where the module has them."""
    sources = _TRAIN_SOURCE.read(trainer), _VAL_SOURCE.read(trainer)
    train, val = (None if source.is_module() else source.instance for source in sources)
    return train, val


def evaluation_loader(trainer: Trainer) -> Any:
    """The first of the loaders that a validation or test goes through; None before it begins."""
    combined = _EVALUATION_LOADER.read(trainer)
    return None if combined is None else combined.flattened[0]


def detects_anomalies(trainer: Trainer) -> bool:
    """The Trainer's ``detect_anomaly``."""
    return bool(_ANOMALIES.read(trainer))


def uses_distributed_sampler(trainer: Trainer) -> bool:
    """The Trainer's ``use_distributed_sampler``."""
    return bool(_SAMPLER.read(trainer))


def replace_fetch_marks(
    loop: Any, wrap: Callable[[Callable[[], None], Callable[[], None]], tuple[Any, Any]]
) -> Callable[[], None]:
    """Replace the two methods by which a loop marks a fetch for its profiler.

    Args:
        loop: A training epoch loop or an evaluation loop.
        wrap: Given the methods before and after a fetch, returns those to call instead.

    Returns:
        What undoes it.
    """
    marks = _BEFORE_FETCH.read(loop), _AFTER_FETCH.read(loop)
    loop._on_before_fetch, loop._on_after_fetch = wrap(*marks)

    def undo() -> None:
        # Not by the loop's `__dict__`: Python reads attributes more slowly once it was asked for.
        for mark in (_BEFORE_FETCH, _AFTER_FETCH):
            with suppress(AttributeError):  # another callback may have undone it
                delattr(loop, mark.path)

    return undo


class FetchWatcher(Protocol):
    """What is told of the fetcher of training batches."""

    def before_iterator(self, fetcher: WatchedFetcher) -> None:
        """Lightning is about to make the iterator of an epoch."""

    def before_batch(self, fetcher: WatchedFetcher) -> None:
        """Lightning is about to ask for a batch."""

    def after_batch(self) -> None:
        """Lightning was given a batch."""


class WatchedFetcher:
    """Lightning's fetcher of training batches, as a watcher uses it."""

    def __init__(self, fetcher: Any) -> None:
        self._fetcher = fetcher
        self._kind = type(fetcher)

    @property
    def combined_loader(self) -> CombinedLoader:
        """The loaders."""
        loader: CombinedLoader = self._fetcher.combined_loader
        return loader

    @property
    def hands_out_iterator(self) -> bool:
        """Whether the module asks for batches itself, by ``dataloader_iter``."""
        return hasattr(self._fetcher, "iterator_wrapper")

    def begin(self) -> None:
        """Make the iterator, as Lightning does, and keep count of the batches."""
        fetched = self._fetcher.fetched
        self._kind.__iter__(self._fetcher)
        self._fetcher.fetched = fetched

    def skip(self, batches: int) -> None:
        """Load batches that are not used, unseen by profilers and monitors."""
        fetched = self._fetcher.fetched
        marks = {mark: mark.read(self._fetcher) for mark in (_START_MARK, _STOP_MARK)}
        try:
            for mark in marks:
                mark.write(self._fetcher, _nothing)
            self._fetcher.fetched = 0  # with more, it would take itself to be done
            for _ in range(batches):
                self._kind.__next__(self._fetcher)
        finally:
            for mark, before in marks.items():
                mark.write(self._fetcher, before)
        self._fetcher.fetched = fetched


def watch_fetcher(trainer: Trainer, watcher: FetchWatcher) -> bool:
    """Have the fetcher of training batches tell a watcher; whether it did not so far."""
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

    # Python looks these two up in the class, so it has to be another one.
    methods = {"__iter__": make_iterator, "__next__": next_batch, "watched": watched}
    fetcher.__class__ = type(kind.__name__, (kind,), methods)
    return True


def _nothing() -> None:
    pass


# -- strategies ------------------------------------------------------------------------------------


def ddp_arguments(strategy: DDPStrategy) -> dict[str, Any]:
    """Arguments for torch's ``DistributedDataParallel``."""
    return dict(_DDP_ARGUMENTS.read(strategy))


def syncs_batchnorm(strategy: Strategy) -> bool:
    """The Trainer's ``sync_batchnorm``; strategies of one process have no such attribute."""
    return getattr(strategy, _LAYER_SYNC.path, None) is not None


def run_in_this_process(strategy: DDPStrategy) -> None:
    """Have a strategy start no processes."""
    _LAUNCHER.write(strategy, lambda: None)


# -- modules ---------------------------------------------------------------------------------------


def to_device(module: LightningModule, batch: Any) -> Any:
    """A batch on the module's device, by way of its transfer hooks."""
    batch = _BEFORE_TRANSFER.read(module)(batch, 0)
    return _TRANSFER.read(module)(batch, dataloader_idx=0)


def initial_hparams(owner: Any) -> Any:
    """The hyperparameters that loggers get of a module or data module; None if it saved none."""
    return getattr(owner, _INITIAL_HPARAMS.path, None)


def compiles_itself(module: Any) -> bool:
    """Whether a module was made by ``torch.compile`` of a LightningModule."""
    return getattr(module, _COMPILED.path, None) is not None


# -- loggers ---------------------------------------------------------------------------------------


def tag_prefix(logger: Logger) -> str:
    """What a logger puts before the name of each value."""
    prefix = _PREFIX.read(logger)
    return f"{prefix}{logger.LOGGER_JOIN_CHAR}" if prefix else ""  # type: ignore[attr-defined]


def omit_hp_metric(logger: TensorBoardLogger) -> None:
    """Keep a logger from writing ``hp_metric``."""
    _HP_METRIC.write(logger, False)


def mlflow_client(logger: MLFlowLogger) -> Any:
    """The client of a logger, without beginning a run."""
    return _CLIENT.read(logger)


def current_run(logger: MLFlowLogger) -> str:
    """The id of a logger's run, which is begun if need be."""
    if _RUN_ID.read(logger) is None:
        _ = logger.experiment
    return str(_RUN_ID.read(logger))


def has_run(logger: MLFlowLogger) -> bool:
    """Whether a logger has a run already; asking does not begin one."""
    return _RUN_ID.read(logger) is not None


def run_name(logger: MLFlowLogger) -> str | None:
    """The name that a logger was given for its run."""
    name: str | None = _RUN_NAME.read(logger)
    return name


def adopt_run(logger: MLFlowLogger, run_id: str) -> None:
    """Have a logger write into another run."""
    _RUN_ID.write(logger, run_id)


def forget_finished(logger: MLFlowLogger) -> None:
    """Have a logger's ``finalize`` do nothing until it is used again."""
    _INITIALIZED.write(logger, False)
