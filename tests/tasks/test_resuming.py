"""A checkpoint that a run cannot resume from is refused before training."""

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from lightning_hparams.tasks import check_resumable
from tests.runs import matching, quiet_trainer, shapes


@pytest.fixture
def module():
    return BoringModel()


@pytest.fixture
def path(tmp_path, module):
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    return tmp_path / "a.ckpt"


def test_a_checkpoint_of_the_same_model_is_accepted(path, module):
    check_resumable(path, module)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_checkpoints_of_tasks_are_accepted(tmp_path, task):
    data = shapes(task, num_val=2)
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(matching(data), data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    check_resumable(tmp_path / "a.ckpt", matching(data))


def test_another_model_is_refused_with_a_weight_that_differs(path, module):
    module.layer = nn.Linear(32, 3)
    message = r"2 of its weights .* such as 'layer.weight': \(2, 32\) in .*, \(3, 32\) in the model"
    with pytest.raises(ValueError, match=message):
        check_resumable(path, module)
    module.layer = nn.Linear(32, 2, bias=False)
    with pytest.raises(ValueError, match=r"'layer.bias': \(2,\) in the .*, missing in the model"):
        check_resumable(path, module)


def test_weights_alone_are_refused(path, module):
    message = "it has no '(loops|callbacks|optimizer_states)'; .*with save_weights_only=False"
    with pytest.raises(ValueError, match=message):
        check_resumable(path.with_name("weights.ckpt"), module)


@pytest.mark.parametrize(
    "content", [[1], {"weight": torch.zeros(1)}, {"state_dict": torch.ones(1)}]
)
def test_another_file_of_torch_is_refused(tmp_path, module, content):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a.ckpt .* it has no 'state_dict'; pass a .ckpt"):
        check_resumable(tmp_path / "a.ckpt", module)


def test_a_file_that_is_missing_or_of_another_kind_is_refused(tmp_path, module):
    with pytest.raises(FileNotFoundError, match=r"a.ckpt is not a file"):
        check_resumable(tmp_path / "a.ckpt", module)
    (tmp_path / "a.ckpt").write_text("import this")
    with pytest.raises(ValueError, match=r"a.ckpt is not a checkpoint of Lightning \(\w+\)"):
        check_resumable(tmp_path / "a.ckpt", module)
