"""The commands on the pages work, in their order."""

import shlex
from pathlib import Path

import pytest

from tests.pages import blocks

DOCS = Path(__file__).parents[2] / "docs/howto/command_line.md"
README = Path(__file__).parents[2] / "README.md"
SHORTER = {
    "max_epochs: 20": "max_epochs: 1\n  limit_train_batches: 20\n  limit_val_batches: 2",
    "resnet10t, image_size: 32": "test_resnet, image_size: 16",
    "[LRRangeTest,": "[{class_path: LRRangeTest, init_args: {num_steps: 12}},",
    "trials: 3": "trials: 1",
}


def commands(page):
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [
        shlex.split(line, comments=True)[1:]
        for line in lines
        if line.startswith("lightning-hparams ")
    ]


@pytest.fixture
def files(tmp_path):
    for name, text in zip(("fit.yaml", "sweep.yaml"), blocks(DOCS, "yaml"), strict=True):
        for long, short in SHORTER.items():
            text = text.replace(long, short)
        (tmp_path / name).write_text(text)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [DOCS, README], ids=["how-to", "README"])
def test_the_commands_of_a_page_work(run, files, page):
    listed = commands(page)
    assert len(listed) > 3
    for command in listed:
        code, _, err, _ = run(*command)
        assert code == 0 or (command[0] == "lr-range-test" and code >= 3), (command, err[-2000:])
