"""What --help and the shell's completion show."""

import inspect
import os
import re
import subprocess
import sys

import pytest
from jsonargparse import ArgumentParser

import lightning_hparams
from lightning_hparams.cli import main
from tests.public_classes import CLASSES


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_argument_of_a_class_has_a_line(kind):
    parser = ArgumentParser(exit_on_error=False, prog="x")
    added = parser.add_class_arguments(kind, "made")
    body = " ".join(parser.format_help().partition("\n\n")[2].split())  # without the usage
    for name in added:
        option = rf"--{re.escape(name)}(?:,| \S+| {{\S+}})?"  # a comma since Python 3.13
        found = re.search(rf"{option} (.*?) \((?:required, )?type:", body)
        assert found is not None, name
        assert len(found[1].replace(f"--{name}", "").split()) > 1, name


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "lr-range-test"])
def test_a_command_shows_the_arguments_of_its_runs(run, command):
    code, out, _, _ = run(command, "--help")
    assert code == 0
    for option in ("--config", "--model", "--data", "--trainer.max_epochs", "--seed_everything"):
        assert option in out
    assert f"lightning-hparams [options] {command}" in out or f"lightning-hparams {command}" in out


@pytest.mark.parametrize("name", ["OneCycle", "LRRangeTest", "PredictionMonitor"])
def test_a_callback_shows_its_arguments_by_its_short_name(run, name):
    code, out, _, _ = run("fit", f"--trainer.callbacks.help={name}")
    assert code == 0
    for argument in inspect.signature(getattr(lightning_hparams, name)).parameters:
        assert f"--trainer.callbacks.{argument} " in out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("search", ["--sweep", "--status", "--launcher", "--trials"]),
        ("replay", ["target"]),
        ("compare", ["runs", "--json"]),
        ("doctor", ["target", "--json"]),
    ],
)
def test_a_command_shows_its_own_arguments(run, command, words):
    code, out, _, _ = run(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: lightning-hparams {command}")
    assert all(word in out for word in words)


def completed(line, path):
    environment = {
        **os.environ,
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(path),
    }
    path.touch()
    command = [sys.executable, "-m", "lightning_hparams"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return re.split(r"[\v\s]+", path.read_text().strip())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lightning-hparams lr", ["lr-range-test"]),
        ("lightning-hparams doctor --l", ["--limit"]),
        ("lightning-hparams fit --trainer.max_ep", ["--trainer.max_epochs"]),
    ],
)
def test_a_shell_completes_commands_and_options(tmp_path, line, words):
    assert completed(line, tmp_path / "out") == words


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == lightning_hparams.__version__
