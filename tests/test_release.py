"""What is released is the package, all of it, and nothing else."""

import importlib.util
import re
import subprocess
import tarfile
from importlib.metadata import requires
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement

import lightning_hparams

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("release_check", ROOT / ".ci/release_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_extra_has_a_job_that_a_new_environment_must_do(check):
    assert set(check.JOBS) - {""} == set(check.extras())


def test_a_file_too_many_or_too_few_in_the_wheel_is_found(check):
    tracked = ["lightning_hparams/a.py", "lightning_hparams/py.typed", "tests/b.py"]
    own = ["lightning_hparams/a.py", "lightning_hparams/py.typed"]
    metadata = "lightning_hparams-0.1.0.dist-info/METADATA"
    assert check.faults_of_wheel([*own, metadata], tracked) == []
    assert check.faults_of_wheel([*own, "tests/b.py"], tracked) == [
        "the wheel holds tests/b.py, which is not of the package"
    ]
    assert check.faults_of_wheel(own[:1], tracked) == ["the wheel lacks lightning_hparams/py.typed"]
    assert check.faults_of_sdist(["x-1/README.md"])


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_package(check, tmp_path):
    pytest.importorskip("build", reason="build is not installed")
    wheel, sdist = check.build(tmp_path)
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    with ZipFile(wheel) as archive, tarfile.open(sdist) as packed:
        assert check.faults_of_wheel(archive.namelist(), tracked) == []
        assert check.faults_of_sdist(packed.getnames()) == []
    assert lightning_hparams.__version__ in wheel.name


def test_an_environment_beside_the_first_is_not_released():
    names = [".venv", ".venv-oldest", ".venv313"]  # as the Makefile and CONTRIBUTING.md name them
    command = ["git", "-C", ROOT, "check-ignore", "--no-index", *(f"{name}/bin" for name in names)]
    ignored = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    assert ignored == [f"{name}/bin" for name in names]


def test_every_requirement_of_the_oldest_versions_has_a_lower_bound():
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\ntest-oldest:\n")[1]
    beside = re.findall(r"'(\w[^']*)'", recipe.split("\n\n")[0])
    assert beside
    requirements = map(Requirement, [*beside, *requires("lightning-hparams")])
    without = [
        each.name
        for each in requirements
        if each.name != "lightning-hparams"
        and not any(bound.operator in (">=", "==") for bound in each.specifier)
    ]
    assert not without  # uv would take the first version there ever was


def test_the_citation_names_the_license_and_title_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["title"] == "lightning-hparams"
    assert citation["license"] == "Apache-2.0"
    assert citation["cff-version"] == "1.2.0"


def test_changelog_and_citation_agree_with_the_version_and_its_date():
    version = lightning_hparams.__version__
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\](?: - (.+))?$", text, flags=re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    released, date = headings[1]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == released
    assert citation["date-released"].isoformat() == date
    assert version == released or ".dev" in version  # of the next one
