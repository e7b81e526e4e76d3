"""Five finished runs on real data, with their commands, curves and pictures on one page.

Three tasks, a comparison of two runs, and a search if the package of it is there. The page is
OUT/index.md; everything on it lies below OUT.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

from lightning_hparams import RangeTestResult, provenance

EXAMPLES = Path(__file__).parent
RUNS = {
    "Segmentation: tissue of a brain": ["segmentation.py"],
    "Classification: handwritten digits": ["classification.py"],
    "Detection: shapes, or boxes of your own with --voc": ["detection.py"],
    "The same digits at a fixed rate": ["classification.py", "--lr", "0.001"],
}
COMPARED = ("Classification: handwritten digits", "The same digits at a fixed rate")

parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("--out", type=Path, default=Path("gallery"))
parser.add_argument("--epochs", type=int, help="of each run, instead of the usual")
parser.add_argument("--only", nargs="+", metavar="WORD", help="runs whose title holds a word")
parser.add_argument("--voc", metavar="FOLDER", help="boxes for the detection")


def run(title: str, arguments: list[str], folder: Path, shown: Path) -> list[str]:
    """Run an example, copy what it leaves, and return its section of the page."""
    command = [sys.executable, str(EXAMPLES / arguments[0]), *arguments[1:]]
    start = time.monotonic()
    done = subprocess.run(
        [*command, "--logdir", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{title}: {done.stderr.strip().splitlines()[-1]}")
    minutes = (time.monotonic() - start) / 60
    told = shlex.join(["python", f"examples/{arguments[0]}", *arguments[1:]])
    lines = [f"## {title}", "", "```bash", told, "```", "", f"{minutes:.1f} minutes.", ""]
    for picture in sorted(folder.rglob("predictions.png")):
        shutil.copy(picture, shown / f"{folder.name}.png")
        lines += [f"![Predictions]({folder.name}.png)", ""]
    for curve in sorted(folder.rglob("*range_test*.json")):
        result = RangeTestResult.from_json(curve.read_text(encoding="utf-8"))
        result.plot(shown / f"{folder.name}-lr.png")
        lines += [f"![Range test]({folder.name}-lr.png)", "", f"{result}", ""]
    return lines + scores(folder)


def manifest(folder: Path) -> Path:
    """The record of the run in a folder."""
    return max(folder.rglob("manifest.json"), key=lambda path: path.stat().st_mtime)


def scores(folder: Path) -> list[str]:
    """A table of the best values of a run."""
    best = (
        json.loads(manifest(folder).read_text(encoding="utf-8")).get("result", {}).get("best", {})
    )
    rows = [f"| {name} | {value:.3f} |" for name, value in best.items() if "/val" in name]
    return ["| best | |", "|---|---|", *rows, ""] if rows else []


def compared(folders: dict[str, Path]) -> list[str]:
    """What differs between two runs."""
    first, second = (manifest(folders[title]).parent for title in COMPARED)
    found = [str(each) for each in provenance.compare(first, second)][:20]
    title = f"## Comparison: {COMPARED[0].partition(':')[0]} with and without a range test"
    return [title, "", "```text", *found, "```", ""]


if __name__ == "__main__":
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    page, folders = ["# Gallery", ""], {}
    for number, (title, arguments) in enumerate(RUNS.items()):
        if args.only and not any(word in title for word in args.only):
            continue
        given = [*arguments, *(["--epochs", str(args.epochs)] if args.epochs is not None else [])]
        if args.voc and arguments[0] == "detection.py":
            given += ["--voc", args.voc]
        folders[title] = args.out / f"run-{number}"
        print(f"{title} ...", flush=True)
        try:
            page += run(title, given, folders[title], args.out)
        except RuntimeError as error:
            parser.exit(2, f"{parser.prog}: error: {error}\n")
    if all(title in folders for title in COMPARED):
        page += compared(folders)
    (args.out / "index.md").write_text("\n".join(page), encoding="utf-8")
    print(f"Page: {args.out / 'index.md'}")
