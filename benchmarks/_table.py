"""Run the benchmarks and write one table of what they found, as Markdown and JSON.

``--quick`` takes under a quarter of an hour: fewer rounds, and none of the trainings that measure
quality. The table names the machine, versions, and what each figure is; a figure "x" is a ratio
measured in one run with both sides in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).parent
PEERS = ("torch", "lightning", "torchvision", "torchmetrics", "segmentation-models-pytorch", "timm",
         "tensorboard", "mlflow", "monai", "torch-lr-finder")  # fmt: skip
# Arguments of --quick; a benchmark without any is left out there.
QUICK = {
    "losses": ["--rounds", "1", "--steps", "1"],
    "metrics": ["--rounds", "5"],
    "monitors": ["throughput", "together", "--rounds", "20"],
    "pictures": ["--rounds", "3"],
    "range_test_cost": ["--rounds", "3", "--size", "small"],
    "schedules": ["--rounds", "5"],
    "sinks": ["--rounds", "3"],
    "stolen_time": ["--rounds", "5"],
}
ALONE = {"gpu"}  # run by `make gpu-check`


@dataclass(frozen=True)
class Figure:
    """What a benchmark found."""

    benchmark: str
    what: str
    value: float
    unit: str


def figures_of(script: Path, arguments: list[str]) -> list[Figure]:
    """Run a benchmark, showing what it prints, and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.jsonl"
        environment = {**os.environ, "BENCH_RECORD": str(path)}
        subprocess.run([sys.executable, str(script), *arguments], check=True, env=environment)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Figure(script.stem, **json.loads(line)) for line in lines]


def machine() -> dict[str, object]:
    """What the figures depend on."""
    import torch

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "versions": {name: _version(name) for name in ("lightning-hparams", *PEERS)},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def as_markdown(about: dict[str, object], figures: list[Figure]) -> str:
    """The table for people.

    >>> print(as_markdown({"cores": 2}, [Figure("losses", "dice", 4.04, "x")]).splitlines()[-1])
    | losses | dice | 4.04 | x |
    """
    rows = [f"| {key} | {_words(value)} |" for key, value in about.items()]
    head = ["# What `make bench` found", "", "| | |", "|---|---|", *rows, ""]
    head += ["| benchmark | figure | value | |", "|---|---|---|---|"]
    body = [f"| {one.benchmark} | {one.what} | {one.value:.3g} | {one.unit} |" for one in figures]
    return "\n".join([*head, *body]) + "\n"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def main() -> None:
    """Run the benchmarks one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a quarter of an hour")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of benchmarks")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="bench.md and bench.json")
    args = parser.parse_args()
    start, figures, failed = time.monotonic(), [], []
    for script in sorted(FOLDER.glob("[a-z]*.py")):
        unwanted = args.only is not None and script.stem not in args.only
        if script.stem in ALONE - set(args.only or ()) or unwanted:
            continue
        if args.quick and script.stem not in QUICK:
            print(f"== {script.stem}: left out by --quick", flush=True)
            continue
        print(f"== {script.stem}", flush=True)
        try:
            figures += figures_of(script, QUICK[script.stem] if args.quick else [])
        except subprocess.CalledProcessError:
            failed.append(script.stem)
    about = {**machine(), "minutes": round((time.monotonic() - start) / 60, 1), "quick": args.quick}
    content = {"about": about, "figures": [asdict(one) for one in figures]}
    args.out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(as_markdown(about, figures), encoding="utf-8")
    print(f"{len(figures)} figures: {args.out.with_suffix('.md')}, {args.out.with_suffix('.json')}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
