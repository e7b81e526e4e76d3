"""Several sinks as one: each gets everything, and a broken one does not affect the others."""

import copy
import inspect
import pickle
import re
import warnings

import numpy as np
import pytest
from lightning.pytorch.loggers import Logger

from lightning_hparams import MetricMonitor, RunRecorder
from lightning_hparams.render import encode
from lightning_hparams.sinks import PRCounts, Sink, Sinks
from tests.runs import matching, quiet_trainer, shapes

PICTURE = encode(np.zeros((4, 4, 3), np.uint8))
CALLS = {
    "scalars": ({"a": 1.0}, 0),
    "image": ("a", PICTURE, 0),
    "histogram": ("a", [1], [0, 1], 0),
    "pr_curve": ("a", PRCounts([1, 0], [1, 0], [0, 1], [0, 1]), 0),
    "text": ("a", "b", 0),
    "table": ("a", {"b": [1]}, 0),
    "tags": (),
    "layout": ({},),
    "own_hparams": (),
    "hparams": ({"lr": 1},),
    "columns": ({}, {}),
    "artifact": ("path",),
    "resume": (3,),
    "begin_fit": (),
    "flush": (),
    "finish": ("finished",),
}


class Recording(Sink):
    """Records its calls; raises in each of them if broken."""

    def __init__(self, broken=False):
        self.calls, self.broken = [], broken

    def __getattribute__(self, name):
        if name not in CALLS:
            return object.__getattribute__(self, name)

        def call(*args, **kwargs):
            self.calls.append(name)
            if self.broken:
                raise OSError(28, f"no space for {name}")
            return set()

        return call


def test_every_method_of_a_sink_is_listed_here():
    """Identities of several sinks have separate methods."""
    public = {n for n, _ in inspect.getmembers(Sink, callable) if not n.startswith("_")}
    assert public - {"identity", "adopt"} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_each_sink_gets_every_call_even_if_the_one_before_it_is_broken(name):
    sinks = Recording(broken=True), Recording()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            getattr(Sinks(sinks), name)(*CALLS[name])
    assert [sink.calls for sink in sinks] == [[name] * 2] * 2
    assert len(caught) == (2 if name == "begin_fit" else 1)  # another fit warns again
    assert re.match("Recording: .*no space for", str(caught[0].message))


def test_monitors_that_share_a_sink_share_its_warnings():
    broken = Recording(broken=True)
    with pytest.warns(UserWarning, match="no space for scalars"):
        Sinks([broken]).scalars({"a": 1.0}, 0)
    Sinks([broken]).flush()
    assert broken.calls == ["scalars", "flush"]


def test_identities_match_sinks_in_another_order():
    class Known(Sink):
        def __init__(self, identity=None):
            self.known, self.adopted = identity, None

        def identity(self):
            return self.known

        def adopt(self, identity):
            self.adopted = identity

    class Other(Known):
        pass

    identities = Sinks([Known("a"), Known(), Other("b")]).identities()
    assert identities == {"Known 0": "a", "Known 1": None, "Other 0": "b"}
    later = [Other(), Known(), Known()]
    Sinks(later).adopt_all(identities)
    assert [sink.adopted for sink in later] == ["b", "a", None]


def test_a_copy_is_empty():
    sinks = Sinks([Recording()])
    for double in (copy.deepcopy(sinks), pickle.loads(pickle.dumps(sinks))):
        assert not double
    assert sinks


class Memory(Sink):
    """A sink for a backend that the package does not know."""

    def __init__(self):
        self.values, self.status = [], None

    def scalars(self, values, step):
        self.values += [(tag, step) for tag in values]

    def finish(self, status):
        self.status = status


class MemoryLogger(Logger):
    name = version = "memory"

    def __init__(self):
        super().__init__()
        self.sink = Memory()

    def lightning_hparams_sink(self):
        return self.sink

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, *args, **kwargs):
        pass


def test_a_third_party_logger_provides_its_own_sink():
    data, logger = shapes(), MemoryLogger()
    monitors = [MetricMonitor(), RunRecorder()]
    quiet_trainer(logger=logger, callbacks=monitors, log_every_n_steps=1).fit(matching(data), data)
    assert ("lr/decoder", 0) in logger.sink.values
    assert ("best/loss/val", 3) in logger.sink.values
    assert logger.sink.status == "finished"
