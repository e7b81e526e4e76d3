"""Search learning rate, optimizer and schedule on handwritten digits with three samplers."""

import webbrowser
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_hparams import Choice, Float, Search

HERE = Path(__file__).resolve().parent
SPACE = {
    "model.init_args.lr": Float(1e-4, 0.3, log=True, prior=1e-3),
    "model.init_args.optimizer": Choice(["AdamW", "SGD"]),
    "model.init_args.weight_decay": Float(
        1e-5, 0.1, log=True, when={"model.init_args.optimizer": "AdamW"}
    ),
    "trainer.callbacks.OneCycle.init_args.pct_start": Float(0.1, 0.5),
}

SETTINGS = {"tpe": {"name": "tpe", "startup_trials": 3}}  # 10 at random are usual; 6 run here

parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
parser.add_argument("--samplers", nargs="+", default=["random", "tpe", "qmc"])
parser.add_argument("--trials", type=int, default=6, help="trials of each sampler")
parser.add_argument("--workers", type=int, default=2, help="trials at the same time")
parser.add_argument("--folder", default="studies", help="where the studies are stored")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--open", action="store_true", help="open the report of the best study")


def make_search(sampler: str, trials: int, workers: int, folder: str, seed: int) -> Search:
    name = f"digits-{sampler}"
    return Search(
        HERE / "digits.yaml",
        SPACE,
        "metric/accuracy/val",
        "max",
        name=name,
        folder=Path(folder) / name,
        sampler=SETTINGS.get(sampler, sampler),
        pruner={"name": "median", "startup_trials": 3},
        trials=trials,
        workers=workers,
        seed=seed,
        repeat_best={"trials": 1, "seeds": 3},
    )


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    args = parser.parse_args()
    columns = ("sampler", "trials", "pruned", "best, validation", "other seeds, test", "parameters")
    table = Table(*columns, title="Accuracy on handwritten digits")
    found = {}
    for sampler in args.samplers:
        print(f"== {sampler}")
        search = make_search(sampler, args.trials, args.workers, args.folder, args.seed)
        results = search.run()
        best = results.best
        if best is None or not results.finished:
            parser.exit(1, f"{sampler}: stopped; run the same command to go on\n")
        found[sampler] = results
        pruned = sum(trial.state.name == "PRUNED" for trial in results.trials)
        winner = results.repeated[0]
        table.add_row(
            sampler,
            str(len(results.trials)),
            str(pruned),
            f"{best.value:.3f}",
            f"{winner.mean:.3f} +- {winner.std:.3f}",
            ", ".join(f"{key.split('.')[-1]}={shown(value)}" for key, value in best.params.items()),
        )
    Console().print(table)
    for results in found.values():
        print(f"Report: {results.report}")
    best_of_all = max(found.values(), key=lambda results: results.best.value)
    print(f"Best checkpoint: {best_of_all.folder / 'best.ckpt'}")
    print(f"All trials: tensorboard --logdir {args.folder}")
    if args.open and best_of_all.report is not None:
        webbrowser.open(best_of_all.report.resolve().as_uri())


if __name__ == "__main__":  # workers import the classes of the configuration, not this file
    main()
