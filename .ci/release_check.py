"""Build wheel and sdist, and check that an empty environment can use what they promise.

For each extra alone: a new virtual environment, the wheel with that extra, and the job that the
extra is for. Needs a package index, and the extra `dev` and `uv` in this environment.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
NAME = "lightning_hparams"

MODULE = """
import warnings; warnings.simplefilter("ignore")
import torch, lightning_hparams as package
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch import Trainer
module = BoringModel(); module.lr = 0.1
"""
JOBS = {
    "": """
for name in package.__all__:
    getattr(package, name)
result = package.lr_range_test(module, module.train_dataloader(), num_steps=10)
assert result.steps_run == 10
result.plot("lr.png")
""",
    "plot": """
result = package.lr_range_test(module, module.train_dataloader(), num_steps=10)
assert type(result.plot()).__name__ == "Axes"
""",
    "export": """
task = package.ClassificationTask("test_byobnet", num_classes=2)
assert task.export("x.onnx", size=(32, 32)).stat().st_size > 1000
""",
    "tiff": """
import numpy, tifffile
tifffile.imwrite("x.tif", numpy.zeros((8, 8), "uint8"), compression="lzw")
from lightning_hparams.data import read_image
from pathlib import Path
assert read_image(Path("x.tif"), 1).shape == (1, 8, 8)
""",
    "mlflow": """
logger = package.mlflow_logger("sqlite:///mlflow.db")
Trainer(max_steps=1, logger=logger, callbacks=[package.MetricMonitor()], limit_val_batches=1,
        enable_progress_bar=False, accelerator="cpu").fit(module)
""",
    "wandb": """
from lightning.pytorch.loggers import WandbLogger
logger = WandbLogger(save_dir=".", offline=True)
Trainer(max_steps=1, logger=logger, callbacks=[package.MetricMonitor()], limit_val_batches=1,
        log_every_n_steps=1, enable_progress_bar=False, accelerator="cpu").fit(module)
assert "loss/train" in dict(logger.experiment.summary)
logger.experiment.finish()
""",
    "search": """
from lightning_hparams.search import (
    Float, SearchSettings, Space, next_trial, open_study, write_report)
space = Space({"model.init_args.lr": Float(0, 1), "model.init_args.decay": Float(0, 1)})
for sampler in ("cmaes", "gp", "qmc"):
    spec = sampler if sampler == "qmc" else {"name": sampler, "startup_trials": 1}
    study = open_study(SearchSettings(
        metric="loss/val", mode="min", space=space, sampler=spec, trials=4, folder=sampler))
    while (asked := next_trial(study)) is not None:
        study.tell(asked.trial, float(asked.trial.number))
    write_report(f"{sampler}.html", study.get_trials(), metric="loss/val", mode="min")
""",
    "postgres": """
from lightning_hparams.search import open_storage
try:  # no server here: the driver, with its library, says so
    open_storage("postgresql://ada@127.0.0.1:1/study")
except ConnectionError as error:
    assert "refused" in str(error), error
""",
    "ray": """
import ray, sys
from pathlib import Path
from lightning_hparams.search.ray_workers import resources, run_worker
ray.init(num_cpus=2, include_dashboard=False, logging_level="WARNING")
options = resources([node["Resources"] for node in ray.nodes()], 1, 1, 0)
command = [sys.executable, "-c", "print('trained')"]
worker = ray.remote(run_worker).options(**options)
ray.get(worker.remote(command, {}, str(Path("worker.log").absolute()), 0))
assert "trained" in Path("worker.log").read_text()
""",
    "completion": """
import os, subprocess, sys
from pathlib import Path
def complete(line):
    Path("words").touch()
    subprocess.run(Path(sys.executable).with_name("lightning-hparams"), check=True, env={
        **os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": "words"})
    return Path("words").read_text().split()
assert complete("lightning-hparams lr") == ["lr-range-test"]
assert complete("lightning-hparams fit --trainer.max_ep") == ["--trainer.max_epochs"]
""",
    "optimizers": """
task = package.ClassificationTask("test_byobnet", optimizer="AdamWScheduleFree")
assert "ScheduleFree" in type(task.configure_optimizers()).__name__
""",
    "examples": "data = package.DigitsData(); data.setup('fit'); assert len(data.train_set) > 1000",
    "docs": """
from pathlib import Path
from sphinx.cmd.build import build_main
Path("conf.py").write_text(
    "extensions = ['myst_parser', 'sphinx.ext.autodoc']; html_theme = 'furo'")
Path("index.md").write_text(
    "# Title\\n```{eval-rst}\\n.. autoclass:: lightning_hparams.OneCycle\\n```\\n")
assert build_main(["-q", ".", "site"]) == 0
assert "total_steps" in Path("site/index.html").read_text()
""",
    "bench": """
import monai, psutil
from torch_lr_finder import LRFinder
optimizer = torch.optim.SGD(module.parameters(), 1e-3)
finder = LRFinder(module, optimizer, torch.nn.MSELoss())
assert finder.optimizer is optimizer and psutil.Process().memory_info().rss
""",
    "dev": """
import hypothesis, mypy, nbclient, onnxruntime, xdist, subprocess, sys
from pathlib import Path
Path("test_it.py").write_text("import lightning_hparams as p\\ndef test(): assert p.OneCycle\\n")
subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "1", "test_it.py"], check=True)
subprocess.run([sys.executable, "-m", "ruff", "check", "--select=F", "test_it.py"], check=True)
""",
}


def extras() -> list[str]:
    """The extras of pyproject.toml, in order."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    return re.findall(r"^(\w+) = \[", section, flags=re.MULTILINE)


def build(out: Path) -> tuple[Path, Path]:
    """Build the sdist, and from it the wheel."""
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def faults_of_wheel(names: Iterable[str], tracked: Iterable[str]) -> list[str]:
    """What the wheel holds besides the package, and what it lacks of it."""
    found = {name for name in names if not re.match(rf"{NAME}-[^/]+\.dist-info/", name)}
    expected = {name for name in tracked if name.startswith(f"{NAME}/")}
    more = [f"the wheel holds {name}, which is not of the package" for name in found - expected]
    return sorted(more + [f"the wheel lacks {name}" for name in expected - found])


def faults_of_sdist(names: Iterable[str]) -> list[str]:
    """Files of which a package could not be built or judged."""
    found = {name.partition("/")[2] for name in names}
    needed = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", f"{NAME}/__init__.py")
    return [f"the sdist lacks {name}" for name in needed if name not in found]


def run_job(extra: str, wheel: Path, folder: Path) -> str:
    """Install the wheel with one extra into a new environment, and do the extra's job.

    Returns:
        The end of what was printed if it failed, otherwise "".
    """
    uv = Path(sys.executable).with_name("uv")
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    python = folder / "venv" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"],
        [uv, "pip", "install", "--quiet", "--python", python, wanted],
        [python, "-c", MODULE + JOBS[extra]],
    ):
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return done.stderr[-2000:]
    return ""


def main() -> int:
    """Print a line for each check; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", help="check these alone; - for none")
    args = parser.parse_args()
    every = ["-", *extras()]
    chosen = args.extras or every
    if unknown := sorted(set(chosen) - set(every)):
        parser.error(f"extras must be some of {', '.join(every)}; got {', '.join(unknown)}")
    begun = time.monotonic()
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        wheel, sdist = build(out)
        with ZipFile(wheel) as archive, tarfile.open(sdist) as packed:
            faults = faults_of_wheel(archive.namelist(), tracked)
            faults += faults_of_sdist(packed.getnames())
        print("\n".join(faults) or f"ok    {wheel.name} and {sdist.name}")
        failed = bool(faults)
        for extra in chosen:
            folder = out / (extra.strip("-") or "none")
            folder.mkdir()
            start = time.monotonic()
            error = run_job(extra.strip("-"), wheel, folder)
            seconds = f"({time.monotonic() - start:.0f} s)"
            print(f"{'FAILED' if error else 'ok':<7}extra {extra} {seconds}", error, flush=True)
            shutil.rmtree(folder)  # an environment is gigabytes
            failed |= bool(error)
    print(f"{len(chosen)} environments in {(time.monotonic() - begun) / 60:.0f} minutes")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
