"""Every page is built strictly, and all code on it runs."""

import importlib
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

from tests.pages import blocks, make_files, names_on_page, shortened

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
README = "../README.md"
SLOW = {"tutorial.md", "migration.md", README}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page in SLOW else ())
        for page in [*PAGES, README]
        if blocks(DOCS / page, "python")
    ],
)
def test_the_code_on_a_page_runs(page, tmp_path, monkeypatch):
    make_files(tmp_path)
    for name, value in {"ACCELERATOR": "cpu", "LIMIT_TRAIN_BATCHES": "2"}.items():
        monkeypatch.setenv(f"PL_TRAINER_{name}", value)
    names = names_on_page()
    for number, code in enumerate(blocks(DOCS / page, "python")):
        exec(compile(shortened(code), f"{page}[{number}]", "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(DOCS / page, "yaml")])
def test_the_configurations_on_a_page_are_yaml_of_existing_classes(page):
    for text in blocks(DOCS / page, "yaml"):
        assert isinstance(yaml.safe_load(text), dict)
        for name in re.findall(r"lightning_hparams\.(\w+)", text):
            assert resolve_name(f"lightning_hparams.{name}") is not None


@pytest.mark.parametrize("page", [*PAGES, README, "../CONTRIBUTING.md"])
def test_commands_on_a_page_exist(page):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for text in blocks(DOCS / page, "bash"):
        for target in re.findall(r"^make ([\w-]+)", text, flags=re.MULTILINE):
            assert target in targets
        for script in re.findall(r"(?:examples|benchmarks)/\w+\.py", text):
            assert (ROOT / script).exists()


@pytest.mark.parametrize("room", ["lightning_hparams", "lightning_hparams.search"])
def test_the_reference_has_every_public_name(room):
    text = "".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    entries = re.findall(r"^\.\. auto(?:class|function|data):: (\S+)", text, flags=re.MULTILINE)
    documented = {inspect.unwrap(_named(entry)) for entry in entries}
    public = importlib.import_module(room)
    for name in public.__all__:
        value = getattr(public, name)
        assert inspect.ismodule(value) or inspect.unwrap(value) in documented, name


def _named(entry):
    module, _, name = entry.rpartition(".")
    return getattr(importlib.import_module(module), name)


def build(source, out):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", source, out]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=out.parent)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    result = build(DOCS, tmp_path / "html")
    assert result.returncode == 0, result.stderr[-3000:]
    for page in PAGES:
        assert (tmp_path / "html" / page).with_suffix(".html").exists()


BROKEN = {
    "a page": "[text](missing.md)",
    "a heading": "[text](other.md#missing)",
    "a class": "{py:class}`lightning_hparams.Missing`",
    "a picture": "![text](missing.png)",
}


@pytest.mark.slow
def test_a_broken_reference_fails_the_build(tmp_path):
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    source = tmp_path / "docs"
    source.mkdir()
    shutil.copy(DOCS / "conf.py", source)
    shutil.copytree(DOCS / "_static", source / "_static")
    whole = "# Title\n\n```{toctree}\nother\n```\n"
    (source / "other.md").write_text("# Other\n")
    (source / "index.md").write_text(whole)
    assert build(source, tmp_path / "whole").returncode == 0
    (source / "index.md").write_text(whole + "\n\n".join(BROKEN.values()))
    result = build(source, tmp_path / "broken")
    assert result.returncode != 0
    assert len(set(re.findall(r"index\.md:(\d+)", result.stderr))) == len(BROKEN), result.stderr
