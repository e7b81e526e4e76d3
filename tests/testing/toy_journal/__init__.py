"""A third party's package: a logger that keeps everything in one file of JSON lines."""

import base64
import json
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers.logger import DummyLogger

from lightning_hparams.sinks import Sink


class JournalSink(Sink):
    def __init__(self, path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.seen = {}

    def write(self, what, step=None, **record):
        with self.path.open("a") as file:
            file.write(json.dumps({"what": what, "step": step, **record}) + "\n")

    def records(self):
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [json.loads(line) for line in lines]

    def scalars(self, values, step):
        written = {tag: (step, repr(value)) for tag, value in values.items()}
        new = {tag: values[tag] for tag, mark in written.items() if self.seen.get(tag) != mark}
        self.seen |= written
        if new:
            self.write("scalars", step, values={tag: float(value) for tag, value in new.items()})

    def image(self, tag, picture, step):
        self.write("image", step, tag=tag, data=base64.b64encode(picture.data).decode())

    def histogram(self, tag, counts, edges, step):
        self.write("histogram", step, tag=tag, counts=np.asarray(counts).tolist())

    def text(self, tag, text, step):
        self.write("text", step, tag=tag, text=text)

    def hparams(self, values, *, group=None):
        self.write("hparams", values=dict(values), group=group)

    def artifact(self, path):
        self.write("artifact", name=path.name, text=path.read_text())

    def finish(self, status):
        self.write("finish", status=status)

    def _forget(self, step):
        kept = [each for each in self.records() if each["step"] is None or each["step"] <= step]
        self.path.write_text("".join(json.dumps(each) + "\n" for each in kept))
        self.seen = {}


class JournalLogger(DummyLogger):
    """Lightning's side of it, through which a module's own ``self.log`` arrives."""

    def __init__(self, path):
        super().__init__()
        self.sink = JournalSink(path)

    def log_metrics(self, metrics, step=None):
        self.sink.scalars(metrics, step)

    def lightning_hparams_sink(self):
        return self.sink
