"""Two packages of third parties pass the contracts that this package ships for them."""

from functools import partial

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_hparams import MetricMonitor, PredictionMonitor, RunRecorder
from lightning_hparams.testing import (
    KindContract,
    RuleContract,
    ScheduleContract,
    SinkContract,
    TaskContract,
)
from tests.runs import quiet_trainer
from tests.testing.toy_journal import JournalLogger, JournalSink
from tests.testing.toy_keypoints import Keypoint, KeypointData, KeypointTask, cautious, sawtooth


class TestJournal(SinkContract):
    def make_sink(self, folder):
        return JournalSink(folder / "journal.jsonl")

    def read_scalars(self, folder):
        found = {}
        for record in JournalSink(folder / "journal.jsonl").records():
            if record["what"] == "scalars":
                for tag, value in record["values"].items():
                    found.setdefault(tag, []).append((record["step"], value))
        return found


class TestKeypoint(KindContract):
    def make_output(self, count):
        generator = torch.Generator().manual_seed(0)
        return {
            "kind": Keypoint(),
            "images": torch.rand(count, 3, 20, 30, generator=generator),
            "preds": 19 * torch.rand(count, 2, generator=generator),
            "targets": 19 * torch.rand(count, 2, generator=generator),
        }

    def make_bad_outputs(self):
        good = self.make_output(2)
        yield {**good, "preds": torch.zeros(2, 3)}
        yield {**good, "targets": torch.zeros(2, 2, 1)}
        yield {**good, "targets": torch.zeros(1, 2)}
        yield {**good, "images": good["images"][0]}
        yield {key: value for key, value in good.items() if key != "targets"}


class TestSawtooth(ScheduleContract):
    def make_schedule(self):
        return partial(sawtooth, teeth=2)


class TestCautious(RuleContract):
    def make_rule(self):
        return cautious


class TestKeypointTask(TaskContract):
    def make_task(self):
        return KeypointTask()

    def make_data(self):
        return KeypointData()


def test_a_run_of_one_package_is_written_by_the_other(tmp_path):
    path = tmp_path / "journal.jsonl"
    trainer = quiet_trainer(
        logger=JournalLogger(path),
        callbacks=[
            MetricMonitor(), PredictionMonitor(2), RunRecorder(), ModelCheckpoint(tmp_path)
        ],
        enable_checkpointing=True,
        log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(KeypointTask(), KeypointData())
    records = JournalSink(path).records()
    tags = {tag for each in records if each["what"] == "scalars" for tag in each["values"]}
    assert {"metric/distance/val", "loss/train", "best/metric/distance/val"} <= tags
    assert any(each["what"] == "image" for each in records)
    assert records[-1] | {"step": None} == {"what": "finish", "step": None, "status": "finished"}
