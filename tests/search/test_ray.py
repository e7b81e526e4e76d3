"""Ray places workers on its nodes, and a study outlives the loss of one."""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from lightning_hparams.configuration import Configuration
from lightning_hparams.search import RaySupervisor, Search, open_study
from lightning_hparams.search.ray_workers import check_ended, resources, run_worker
from tests.search import tiny

SMALL = {"num_cpus": 1, "object_store_memory": 80_000_000}


@contextmanager
def cluster():
    """Two nodes on this machine, one CPU each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    head = {**SMALL, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=head)
    try:
        # Before the second node: of several on one machine, Ray 2.40 takes any for the driver.
        ray.init(address=found.address, log_to_driver=False)
        other = found.add_node(**SMALL)
        yield found, other
    finally:
        ray.shutdown()
        found.shutdown()


def parent(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def table(study):
    return [(trial.number, trial.state, trial.params, trial.value) for trial in study.trials]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Ray's sockets
def test_a_study_whose_node_is_killed_ends_with_the_same_table(tmp_path):
    base = Configuration.load(tiny.configuration(epochs=6, pause=0.05))
    alone = Search.of(base, tiny.settings(tmp_path / "alone", trials=6))
    expected = table(alone.run(in_this_process=True).study)
    killed = []

    def kill(trials):
        """End the node whose worker has trained an epoch."""
        if killed:
            return
        raylet = other.all_processes["raylet"][0].process.pid
        for trial in trials:
            worker = trial.user_attrs.get("worker", {}).get("pid")
            if trial.state != TrialState.RUNNING or not trial.intermediate_values:
                continue
            if parent(parent(worker)) == raylet:
                killed.append(trial.number)
                nodes.remove_node(other, allow_graceful=False)
                os.kill(worker, signal.SIGKILL)
                nodes.add_node(**SMALL)
                return

    settings = tiny.settings(
        tmp_path / "ray", trials=6, workers=2, launcher="ray", cpus_per_worker=1
    )
    with cluster() as (nodes, other):
        results = Search.of(base, settings).run(watch=kill)
    assert results.finished
    assert killed
    assert results.study.trials[killed[0]].user_attrs["kills"] == 1
    assert table(results.study) == expected


def test_a_worker_that_dies_is_started_again_but_not_without_end(tmp_path):
    count = tmp_path / "count"
    code = f"f = open({str(count)!r}, 'a'); f.write('x'); f.close(); print('broken'); exit(3)"
    with pytest.raises(RuntimeError, match=r"(?s)exit code 3.*broken"):
        run_worker(["python3", "-c", code], {}, str(tmp_path / "logs" / "0.log"), 2)
    assert count.read_text() == "xxx"


def test_workers_that_cannot_start_are_told_as_on_one_machine():
    ray = pytest.importorskip("ray")

    def get(done):
        task_error = ray.exceptions.RayTaskError
        raise task_error("run_worker", "lines of Ray", done[0]).as_instanceof_cause()

    fake = SimpleNamespace(get=get, exceptions=ray.exceptions)
    with pytest.raises(RuntimeError) as caught:
        check_ended(fake, [RuntimeError("the workers end with exit code 3")])
    assert str(caught.value) == "the workers end with exit code 3"
    with pytest.raises(ray.exceptions.RayTaskError):
        check_ended(fake, [KeyError("x")])


class Lost:
    """What is asked of Ray, of a cluster that is lost while a study runs."""

    def __init__(self):
        self.connected = True

    def is_initialized(self):
        return self.connected

    def nodes(self):
        return [{"Alive": True, "NodeManagerAddress": "here", "Resources": {"CPU": 1}}]

    def remote(self, **options):
        return lambda task: SimpleNamespace(remote=lambda *arguments: "worker")

    def wait(self, workers, **options):
        return [], workers

    def get(self, workers):
        return [None for _ in workers]

    def lose(self, trials):
        self.connected = False
        raise ConnectionError("the cluster is lost")

    def cancel(self, worker):
        raise TypeError("No owner found for object.")


def test_the_error_of_a_lost_cluster_is_not_hidden_by_the_end_of_the_workers(tmp_path, monkeypatch):
    ray = Lost()
    monkeypatch.setattr("lightning_hparams.search.ray_workers.require", lambda *_, **__: ray)
    study = open_study(tiny.settings(tmp_path, workers=1, launcher="ray"))
    with pytest.raises(ConnectionError, match="the cluster is lost"):
        RaySupervisor(study, ray.lose).run()


def test_a_worker_is_ended_with_its_task(tmp_path):
    ready, path = tmp_path / "ready", tmp_path / "ended"
    code = (
        "import signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(path)!r}, 'w'), sys.exit()))\n"
        f"open({str(ready)!r}, 'w')\n"
        "time.sleep(60)"
    )

    def interrupt():
        while not ready.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    # Processes of pytest-xdist ignore the signal.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run_worker([sys.executable, "-c", code], {}, str(tmp_path / "0.log"), 2)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert path.exists()


@pytest.mark.parametrize(
    ("nodes", "workers", "asked", "found"),
    [
        ([{"CPU": 2}], 2, (None, None), (1, 0)),
        ([{"CPU": 2}], 5, (None, None), (1, 0)),
        ([{"CPU": 8, "GPU": 2}], 2, (None, None), (4, 1)),
        ([{"CPU": 8, "GPU": 2}], 1, (None, None), (8, 1)),
        ([{"CPU": 8, "GPU": 1}], 2, (None, None), (4, 0.5)),
        ([{"CPU": 8, "GPU": 2}], 5, (None, None), (1, 1 / 3)),
        ([{"CPU": 8, "GPU": 2}], 2, (2, 0), (2, 0)),
    ],
)
def test_a_cluster_is_divided_among_the_workers(nodes, workers, asked, found):
    assert tuple(resources(nodes, workers, *asked).values()) == pytest.approx(found)


@pytest.mark.parametrize("asked", [(4, None), (1, 1)])
def test_a_worker_that_fits_no_node_is_refused(asked):
    with pytest.raises(ValueError, match="cpus_per_worker"):
        resources([{"CPU": 2}, {"CPU": 3}], 1, *asked)
