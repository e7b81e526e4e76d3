"""Workers of a study that a Ray cluster places on its nodes and starts again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import require
from .dealing import Share
from .reaper import reap
from .stopping import Stop
from .worker_process import (
    TELL,
    WAIT,
    death_message,
    import_path,
    start_worker,
    worker_command,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from .study import SearchStudy

__all__ = ["RaySupervisor", "resources"]


class RaySupervisor:
    """Run a study with workers on the nodes of a Ray cluster until it ends.

    Ray places the workers by their CPUs and GPUs, and starts those of a node that is lost
    elsewhere. A worker is the same command as without Ray. All nodes need the Python environment
    of this process and the study's folder, and a database that they reach.

    Args:
        study: The study.
        watch: Called about once a second with all trials.
        address: Address of the cluster; by default the one that runs here, or a new one of this
            machine.

    Raises:
        ValueError: If no node can hold a worker, or the nodes cannot share the database.
        ModuleNotFoundError: If Ray is not installed.
    """

    def __init__(
        self,
        study: SearchStudy,
        watch: Callable[[Sequence[FrozenTrial]], object] | None = None,
        address: str | None = None,
    ) -> None:
        self.study, self.watch = study, watch
        self.ray: Any = require("ray", extra="ray")
        self.started = not self.ray.is_initialized()
        if self.started:
            self.ray.init(address=address, log_to_driver=False, logging_level="WARNING")
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        settings = study.settings
        hosts = {node["NodeManagerAddress"] for node in nodes}
        if settings.storage_url.startswith("sqlite") and len(hosts) > 1:
            raise ValueError(
                f"`storage` must be PostgreSQL for the {len(hosts)} machines of the Ray cluster, "
                f"got {settings.storage_url}; postgresql+psycopg://user@host/name is an address"
            )
        self.options = resources(
            [node["Resources"] for node in nodes],
            settings.workers,
            settings.cpus_per_worker,
            settings.gpus_per_worker,
        )
        self.deadline = settings.deadline()
        self.stop = Stop()

    def run(self) -> bool:
        """Run the study; return whether it came to its end, rather than being stopped.

        Raises:
            RuntimeError: If the workers cannot be started, with the last lines of their output.
        """
        # A lost node is not the fault of the worker, which is restarted without limit.
        start = self.ray.remote(max_retries=-1, **self.options)(run_worker)
        running: list[Any] = []
        try:
            with self.stop.signals():
                reap(self.study)
                running = [start.remote(*self._command(i)) for i in range(self.workers)]
                while running and not self.stop.wait(0):
                    done, running = self.ray.wait(running, timeout=TELL)
                    self._tell()
                    check_ended(self.ray, done)
        finally:
            self._end(running)
            reap(self.study)
        self._tell()
        return not self.stop.asked

    @property
    def workers(self) -> int:
        """How many workers to start; those without room wait for it."""
        return self.study.settings.workers

    def _command(self, index: int) -> tuple[list[str], dict[str, str], str, int]:
        folder = Path(self.study.settings.folder).absolute()
        command = worker_command(folder, index, time.time(), self.deadline)
        share = Share((), max(1, int(self.options["num_cpus"])))  # Ray deals out cores and GPUs
        environment = {**share.environment, "PYTHONPATH": import_path()}
        log = folder / "workers" / f"ray-{index}.log"
        return command, environment, str(log), self.study.settings.retries + 2

    def _end(self, running: Sequence[Any]) -> None:
        """Cancel the workers, and wait until they have stopped."""
        if not self.ray.is_initialized():
            return  # the cluster is gone; asked now, Ray would connect to it or to another again
        for worker in running:
            self.ray.cancel(worker)
        if running:
            self.ray.wait(running, num_returns=len(running), timeout=WAIT)
        if self.started:
            self.ray.shutdown()

    def _tell(self) -> None:
        if self.watch is not None:
            self.watch(self.study.get_trials(deepcopy=False))


def resources(
    nodes: Sequence[Mapping[str, float]], workers: int, cpus: int | None, gpus: float | None
) -> dict[str, float]:
    """Return what Ray reserves for each worker.

    Args:
        nodes: CPUs and GPUs of each node.
        workers: Number of workers.
        cpus: CPUs of each; None divides those of the cluster.
        gpus: GPUs of each, or a part of one; None divides those of the cluster, at most one each.

    Raises:
        ValueError: If no node has as many.

    >>> resources([{"CPU": 8, "GPU": 2}, {"CPU": 4}], 3, None, None)
    {'num_cpus': 4, 'num_gpus': 0.5}
    >>> resources([{"CPU": 4}, {"CPU": 4}], 1, None, None)
    {'num_cpus': 4, 'num_gpus': 0}
    """
    most = max((node.get("CPU", 0) for node in nodes), default=0)
    cards = sum(node.get("GPU", 0) for node in nodes)
    if cpus is None:
        total = sum(node.get("CPU", 0) for node in nodes)
        cpus = max(1, min(int(total // workers), int(most)))
    if gpus is None:
        gpus = 0 if not cards else _part(cards / workers)
    fitting = [node for node in nodes if node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus]
    if not fitting:
        shown = [{name: node.get(name, 0) for name in ("CPU", "GPU")} for node in nodes]
        raise ValueError(
            f"a worker needs {cpus} CPUs and {gpus} GPUs of one node, but the nodes of the Ray "
            f"cluster have {shown}; set `cpus_per_worker` and `gpus_per_worker`"
        )
    return {"num_cpus": cpus, "num_gpus": gpus}


def check_ended(ray: Any, done: Sequence[object]) -> None:
    """Raise the error of a worker as on one machine, without the lines that Ray adds.

    Args:
        ray: Ray.
        done: Workers that have ended.
    """
    try:
        ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if not isinstance(error.cause, RuntimeError):
            raise
        raise RuntimeError(str(error.cause)) from None


def _part(share: float) -> float:
    """Return one GPU, or a part that a whole number of workers have."""
    if share >= 1:
        return 1
    return 1 / max(1, -int(-1 // share))


def run_worker(
    command: Sequence[str], environment: Mapping[str, str], log: str, deaths: int
) -> None:
    """Run a worker on the node that Ray has chosen, and start it again if it dies.

    Args:
        command: The worker's command. It stops by itself if this process is killed.
        environment: Variables beside those of this process, in which Ray has set its GPUs.
        log: File for its output.
        deaths: How often it may die in a row within a minute.
    """
    path = Path(log)
    count = 0
    while True:
        begun = time.monotonic()
        code = _run_once(command, environment, path)
        if code == 0:
            return
        count = count + 1 if time.monotonic() - begun < 60 else 1
        if count > deaths:
            raise RuntimeError(death_message(code, path))


def _run_once(command: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
    process = start_worker(command, environment, log)
    try:
        return process.wait()
    finally:  # Ray cancels by KeyboardInterrupt
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(WAIT)
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
