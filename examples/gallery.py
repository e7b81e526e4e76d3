"""Five finished runs on real data, with their commands, curves, pictures and reports on one page.

Three tasks, a search, and a comparison of two runs: about a quarter of an hour on one core. The
page is OUT/index.md, its pictures lie beside it, and the runs lie in RUNS. A run that is there
already is not repeated, so that an interrupted gallery goes on by the same command.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_hparams import LRRangeTest, provenance

EXAMPLES = Path(__file__).parent
LARGEST = 200_000  # bytes of a picture
COMMANDS = {
    "segmentation": ["segmentation.py"],
    "classification": ["classification.py"],
    "detection": ["detection.py"],
    "search": ["search.py", "--samplers", "tpe", "--workers", "1"],
    "fixed-rate": ["classification.py", "--lr", "0.001"],
}
METRICS = {
    "segmentation": "metric/miou",
    "classification": "metric/accuracy",
    "detection": "metric/map",
}
TITLES = {
    "segmentation": "Segmentation: tissue in slices of a brain",
    "classification": "Classification: handwritten digits",
    "detection": "Detection: drawn shapes",
    "search": "Search: learning rate, optimizer and schedule for the digits",
    "comparison": "Comparison: the digits with a range test, and at a fixed rate",
}
INTRODUCTION = """# Gallery

Five finished runs, their curves and what came out of them, all made by one command:

```bash
{command}
```

Brain and digits come with packages. Without `--voc`, the detection is of drawn shapes; `BCCD` is a
folder of [photographs of blood](https://github.com/Shenggan/BCCD_Dataset) (MIT licence), and two of
its 4888 boxes, which have no area, are dropped. Each run keeps its `manifest.json`, checkpoints and
files for TensorBoard below the folder of `--runs`, and the search its `report.html`.
"""

parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("--out", type=Path, default=Path("gallery"))
parser.add_argument("--runs", type=Path, help="where the runs are kept; OUT/runs by default")
parser.add_argument("--epochs", type=int, help="of each run, instead of the usual")
parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES), help="these runs")
parser.add_argument("--voc", metavar="FOLDER", help="images and Pascal VOC files to detect in")
parser.add_argument("--boxes", default="drop", help="what to do with bad boxes in them")


def finished(name: str, args: Namespace) -> dict[str, Any]:
    """Run an example unless it was, and return its command, what it printed, and its minutes."""
    folder = args.runs / name
    given = list(COMMANDS[name])
    if name != "search" and args.epochs is not None:
        given += ["--epochs", str(args.epochs)]
    if name == "detection" and args.voc:
        given += ["--voc", args.voc, "--boxes", args.boxes]
    record = folder / "gallery.json"
    if record.is_file():
        told = dict(json.loads(record.read_text(encoding="utf-8")))
        if told["command"] == given:
            return told
    print(f"{name} ...", flush=True)
    command = [sys.executable, str(EXAMPLES / given[0]), *given[1:]]
    command += ["--folder" if name == "search" else "--logdir", str(folder)]
    before = minutes_of_children()
    wide = {**os.environ, "COLUMNS": "110"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=wide)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{shlex.join(given)}: {last}")
    minutes = minutes_of_children() - before
    told = {"command": given, "printed": done.stdout, "minutes": minutes}
    record.write_text(json.dumps(told), encoding="utf-8")
    return told


def minutes_of_children() -> float:
    """Processor time of the runs so far, which other programs on the machine do not change."""
    used = os.times()
    return (used.children_user + used.children_system) / 60


def section(title: str, *records: dict[str, Any]) -> list[str]:
    """The title, the commands and the time of one or two runs."""
    commands = [
        ["python", f"examples/{told['command'][0]}", *told["command"][1:]] for told in records
    ]
    minutes = [f"{told['minutes']:.1f}" for told in records if told["minutes"] is not None]
    lines = [f"## {title}", "", "```bash", *map(shlex.join, commands), "```", ""]
    return [*lines, *([f"Minutes of one core: {', '.join(minutes)}.", ""] if minutes else [])]


def of_task(name: str, folder: Path, out: Path) -> list[str]:
    """Range test, curves, pictures and scores of a run."""
    metric = METRICS[name]
    (checkpoint,) = run_folder(folder).rglob("best.ckpt")
    test = LRRangeTest()
    test.load_state_dict(torch.load(checkpoint, weights_only=True)["callbacks"][test.state_key])
    test.result.plot(out / f"{name}-lr.png")
    lines = [f"![The range test of {name}]({name}-lr.png)", "", f"{test.result}", ""]
    figure, axes = chart()
    for part in ("train", "val"):
        axes[0].plot(*curve(folder, f"loss/{part}"), label=f"loss/{part}")
    axes[1].plot(*curve(folder, f"{metric}/val"), color="C2", label=f"{metric}/val")
    saved(figure, axes, out / f"{name}-curves.png")
    small(run_folder(folder) / "predictions.png", out / f"{name}.png")
    lines += [f"![Losses and score of {name} by step]({name}-curves.png)", ""]
    lines += [f"![Predictions on validation images of {name}]({name}.png)", ""]
    return lines + scores(folder)


def of_search(folder: Path, printed: str, out: Path) -> list[str]:
    """The trials of a search, and where its report is."""
    trials = [json.loads(path.read_text("utf-8")) for path in folder.glob("*/trials/*/trial.json")]
    trials.sort(key=lambda trial: trial["number"])
    figure, axes = chart()
    for optimizer in ("AdamW", "SGD"):
        of_it = [t for t in trials if t["params"]["model.init_args.optimizer"] == optimizer]
        best = [trial["best"] for trial in of_it]
        axes[0].plot([trial["number"] for trial in of_it], best, "o", label=optimizer)
        axes[1].plot([trial["params"]["model.init_args.lr"] for trial in of_it], best, "o")
    axes[0].set_ylabel("accuracy, validation")
    axes[0].set_xlabel("trial")
    axes[1].set(xscale="log", xlabel="learning rate")
    saved(figure, axes, out / "search.png")
    lines = ["![Accuracy by trial and by learning rate](search.png)", ""]
    return [*lines, "```text", *printed.strip().splitlines(), "```", ""]


def of_comparison(folders: Sequence[Path], out: Path) -> list[str]:
    """Curves of two runs, and what differs between them."""
    metric = METRICS["classification"]
    figure, axes = chart()
    for folder in folders:
        axes[0].plot(*curve(folder, "loss/val"), label=folder.name)
        axes[1].plot(*curve(folder, f"{metric}/val"), label=folder.name)
    axes[0].set_ylabel("loss/val")
    axes[1].set_ylabel(f"{metric}/val")
    saved(figure, axes, out / "comparison.png")
    found = map(str, provenance.compare(*map(run_folder, folders)))
    told = [
        line
        for line in found
        if not re.search(r"LRRangeTest|\.dirpath|^checkpoint|^command:", line)
    ]
    lines = ["![Losses and accuracies of two runs by step](comparison.png)", ""]
    return [*lines, "```text", *told, "```", ""]


def run_folder(folder: Path) -> Path:
    """The latest run below a folder."""
    return max(folder.rglob("manifest.json"), key=lambda path: path.stat().st_mtime).parent


def scores(folder: Path) -> list[str]:
    """A table of the best values of a run."""
    text = (run_folder(folder) / "manifest.json").read_text(encoding="utf-8")
    best = json.loads(text)["metrics"]["best"]
    rows = [f"| {name} | {value:.3f} |" for name, value in best.items()]
    return ["| best | |", "|---|---|", *rows, ""]


def curve(folder: Path, tag: str) -> tuple[list[int], list[float]]:
    """Steps and values of a tag in TensorBoard's files."""
    events = EventAccumulator(str(run_folder(folder)), size_guidance={"scalars": 0})
    events.Reload()
    found = events.Scalars(tag)
    return [each.step for each in found], [each.value for each in found]


def chart() -> tuple[Figure, Sequence[Any]]:
    """An empty figure with two axes side by side."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    return figure, figure.subplots(1, 2)


def saved(figure: Figure, axes: Iterable[Any], path: Path) -> None:
    """Write a figure."""
    for each in axes:
        each.set_xlabel(each.get_xlabel() or "step")
        each.grid(alpha=0.3)
        if each.get_legend_handles_labels()[0]:
            each.legend()
    figure.savefig(path, dpi=110)


def small(source: Path, path: Path) -> None:
    """Copy a sheet of predictions: as many of its rows as a small file holds, in 256 colours."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    picture.save(path, optimize=True)
    while path.stat().st_size > LARGEST:
        picture.quantize(256).save(path, optimize=True)
        picture = picture.crop((0, 0, picture.width, picture.height // 2))


def page(args: Namespace) -> Iterator[str]:
    """Make the runs that are wanted, and return the lines of the page."""
    command = shlex.join(["python", "examples/gallery.py", *sys.argv[1:]])
    yield from [*INTRODUCTION.format(command=command).splitlines(), ""]
    titles = TITLES | ({"detection": f"Detection: objects in {args.voc}"} if args.voc else {})
    for name in METRICS:
        if name in args.only:
            yield from section(titles[name], finished(name, args))
            yield from of_task(name, args.runs / name, args.out)
    if "search" in args.only:
        told = finished("search", args)
        yield from section(TITLES["search"], told)
        yield from of_search(args.runs / "search", told["printed"], args.out)
    if "comparison" in args.only:
        both = ("classification", "fixed-rate")
        yield from section(TITLES["comparison"], *(finished(name, args) for name in both))
        yield from of_comparison([args.runs / name for name in both], args.out)


if __name__ == "__main__":
    args = parser.parse_args()
    args.runs = args.runs or args.out / "runs"
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        text = "\n".join(page(args)).rstrip() + "\n"
    except RuntimeError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    (args.out / "index.md").write_text(text, encoding="utf-8")
    print(f"Page: {args.out / 'index.md'}")
