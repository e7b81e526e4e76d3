"""The row of a run in the table of hyperparameters, and the manifest that repeats it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..checks import one_of
from ..internals import log_step
from ..provenance import (
    fingerprint,
    plain,
    redact,
    take,
    whole_parts,
)
from ..sinks import Domain, RunStatus, Sinks, open_sinks
from ..tags import Direction, best_tag, writable
from ._hyperparameters import check_domain, group_of, hyperparameters
from ._manifest_file import has_manifest, kept_manifest, without_earlier, write_manifest
from ._monitor import Monitor
from ._registration import check_forward, check_registrable, register
from ._run_facts import checkpoints, configuration, datasets
from ._run_metrics import RunMetrics, logged_values, validates
from ._run_row import Row
from ._two_packages import refuse_other_lightning

__all__ = ["RunRecorder"]


class RunRecorder(Monitor):
    """Make a run comparable with others and repeatable.

    TensorBoard's HParams tab gets a row for each run, from its start on and with its true status at
    the end, also of a run that crashed or went on later; MLflow gets params, of which one may
    change. A validation, test or prediction where no fit has a row begins one, too. The seed of
    ``seed_everything`` has a column of that name. Lightning's own ``hp_metric``, which would hide
    all other metrics, is switched off.

    Without ``domains`` or a list of ``metrics`` TensorBoard makes the columns by itself, of
    everything that any of the runs has; five metrics are shown at first, those of the best values
    among them. With either, the columns are the chosen ones, and TensorBoard takes them from any
    one of the runs: choose the same in all.

    | tag | meaning | unit |
    |---|---|---|
    | `best/{metric}` | best value so far of each validation metric, classes and terms aside | |
    | `{metric}` | its last value, where the module does not log it to its loggers | |
    | `manifest` | git commit and changes, command, configuration, seeds, versions, data | text |

    ``manifest.json`` goes into the folder of the run and to MLflow, at its start and its end; with
    loggers that have no room for it, to where checkpoints go. A resumed run keeps those of its
    earlier parts under ``earlier``, without sections that equal those of the next part.
    :func:`lightning_hparams.provenance.compare` tells what differs between two. Secrets are left
    out (:func:`lightning_hparams.provenance.redact`), also of what Lightning writes.

    Args:
        metrics: ``"auto"`` for what the validation logs and what other callbacks monitor; or names
            of logged metrics, or a dict of them to ``"min"`` or ``"max"``. By name, a loss or an
            error falls and a score rises; where the name does not tell, there is no best value.
            What a checkpoint callback monitors goes its way. Metrics of the training count at the
            end of each epoch.
        domains: Values that a hyperparameter may take: a tuple ``(low, high)``, or a list.
        group: ``"run"`` for a row of each run; ``"config"`` for one of all runs whose
            hyperparameters are the same, whose metrics TensorBoard then averages.
        hparams: More hyperparameters than the module and the data module have saved.
        register: Name to register the model by in MLflow when training ends, as it is then, with
            its signature; it takes the module's ``example_input_array``, which is passed through it
            once before training.

    Attributes:
        manifest: As it was last written, on rank zero.

    Raises:
        ValueError: If an argument is out of its range; when fitting, if a domain is of no
            hyperparameter, or there is nothing to register the model with.
    """

    def __init__(
        self,
        metrics: Literal["auto"] | Sequence[str] | Mapping[str, Direction] = "auto",
        domains: Mapping[str, Domain] | None = None,
        *,
        group: Literal["run", "config"] = "run",
        hparams: Mapping[str, Any] | None = None,
        register: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(metrics, str):
            one_of("metrics", metrics, ("auto",))
        one_of("group", group, ("run", "config"))
        for name, domain in (domains or {}).items():
            check_domain(name, domain)
        self.metrics = metrics
        self.domains = dict(domains or {})
        self.group = group
        self.hparams = dict(hparams or {})
        self.register = register
        self.manifest: dict[str, Any] = {}
        self._metrics = RunMetrics(metrics)
        self._row = Row(self.domains)
        self._earlier: list[dict[str, Any]] = []
        self._known: dict[str, str | None] = {}
        self._recorded = Sinks()  # those that have the row of a fit
        self._running: Literal["fit", "evaluation"] | None = None
        self._owes_epoch = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the loggers, before Lightning writes hyperparameters to them."""
        refuse_other_lightning(self, trainer, pl_module)
        if stage == "fit" and self.register is not None:
            check_registrable(trainer, pl_module)
        self._sinks = open_sinks(trainer, type(self).__name__)
        self._sinks.own_hparams()
        self._running = None
        if stage == "fit":
            self._notices.clear()
            self._metrics.begin(trainer)
            self._known, self._owes_epoch = {}, False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the row."""
        self._row.values = hyperparameters(trainer, pl_module, self.hparams)
        self._row.check_domains()
        if self.register is not None:
            check_forward(pl_module)
        if not self._sinks:
            return
        self._sinks.adopt_all(self._known)
        self._recorded = self._sinks
        self._begin_row(trainer, pl_module)
        self._running = "fit"
        self.manifest = take(configuration(trainer, pl_module, self._row.values))
        resumed = bool(self._known) or trainer.global_step > 0
        kept = kept_manifest(trainer, resumed=resumed)
        self._earlier = [] if kept is None else [*whole_parts(kept), without_earlier(kept)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the data, which Lightning has loaded by now."""
        if not self._sinks:
            return
        self._go_on(trainer)
        config = configuration(trainer, pl_module, self._row.values)
        data: Any = {name: fingerprint(dataset) for name, dataset in datasets(trainer).items()}
        self.manifest |= {
            "config": redact(plain(config), os.environ),
            "data": redact(data, os.environ),
            "first_step": trainer.global_step,
        }
        self.manifest = write_manifest(self.manifest, self._earlier, trainer, self._sinks)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take in the epoch before: now all that it logged is there."""
        self._take_in_epoch(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what there is, to tell what the validation brings."""
        if trainer.state.fn == "validate":
            self._begin_evaluation(trainer, pl_module)
        elif _counts(trainer):
            self._metrics.before_validation(logged_values(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take in the scores."""
        if _counts(trainer):
            found = logged_values(trainer)
            self._metrics.after_validation(found)
            self._take_in(trainer, found, log_step(trainer), of_validation=True)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a row where no fit has one: Lightning writes hyperparameters here, too."""
        self._begin_evaluation(trainer, pl_module)

    on_predict_start = on_test_start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know the epoch's best before checkpoints are written; the rest of it may come later."""
        self._owes_epoch = True
        found = logged_values(trainer)  # on all ranks, for it may gather metrics
        if self._running:
            self._metrics.update(self._metrics.of(found, trainer, of_validation=False))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say how it ended."""
        ended = isinstance(exception, (KeyboardInterrupt, SystemExit, SIGTERMException))
        self._finish(trainer, "killed" if ended else "failed")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that it ended well."""
        self._take_in_epoch(trainer)
        if self.register is not None and self._running:
            register(trainer, pl_module, self.register)
        self._finish(trainer, "finished")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say that an evaluation without a fit ended well."""
        if self._running == "evaluation":
            self._finish(trainer, "finished")

    def state_dict(self) -> dict[str, Any]:
        """The best values, and what the loggers find the run by."""
        return {
            "best": dict(self._metrics.best.values),
            "identities": self._sinks.identities(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self._metrics.best.values = dict(state_dict["best"])
        known = state_dict["identities"]
        self._known = dict(known) if isinstance(known, Mapping) else {}

    # -- the row

    def _begin_row(self, trainer: Trainer, module: LightningModule) -> None:
        everything = hyperparameters(trainer, module, self.hparams, hidden=False)
        self._row.begin(self._sinks, group_of(everything) if self.group == "config" else None)
        if self.metrics != "auto":
            self._row.choose_columns(list(self.metrics))

    def _begin_evaluation(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._sinks or list(self._recorded) == list(self._sinks) or has_manifest(trainer):
            return  # the row of the fit stays as it is
        self._row.values = hyperparameters(trainer, module, self.hparams)
        self._begin_row(trainer, module)
        self._running = "evaluation"

    def _take_in_epoch(self, trainer: Trainer) -> None:
        """What the training logged in the epoch that is over."""
        if not self._owes_epoch:
            return
        self._owes_epoch = False
        found = logged_values(trainer)  # on all ranks, for it may gather metrics
        step = log_step(trainer) - 1  # it has moved on
        self._take_in(trainer, found, step, of_validation=False)

    def _take_in(
        self, trainer: Trainer, found: Mapping[str, float], step: int, *, of_validation: bool
    ) -> None:
        """Last and best values of the metrics."""
        if not self._running:
            return
        if self._metrics.validated or not validates(trainer):
            if self.domains and not self._row.has_columns:
                self._row.choose_columns(self._metrics.wanted(found, trainer))
            if message := self._metrics.missing(found, trainer, of_validation=of_validation):
                rank_zero_warn(message)
        values = self._metrics.of(found, trainer, of_validation=of_validation)
        if not values:
            return
        best = self._metrics.update(values)
        written = {tag: v for tag, v in values.items() if tag not in trainer.logged_metrics}
        written |= {best_tag(tag): value for tag, value in best.items()}
        self._sinks.scalars({writable(tag): value for tag, value in written.items()}, step)
        self._sinks.flush()

    def _finish(self, trainer: Trainer, status: RunStatus) -> None:
        running, self._running = self._running, None
        if running == "fit":
            self.manifest |= {
                "status": status,
                "last_step": trainer.global_step,
                "metrics": self._metrics.values(),
            }
            with self._notices.instead_of_errors("hash the checkpoints"):
                self.manifest["checkpoints"] = checkpoints(trainer)
            with self._notices.instead_of_errors("write the manifest"):
                self.manifest = write_manifest(self.manifest, self._earlier, trainer, self._sinks)
        if running:
            self._sinks.finish(status)


def _counts(trainer: Trainer) -> bool:
    """Whether this is a validation of the training."""
    return trainer.state.fn == "fit" and not trainer.sanity_checking
