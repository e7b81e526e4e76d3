"""A search with worker processes: ``python -m tests.search.supervised FOLDER``."""

import sys
from pathlib import Path

from lightning_hparams.configuration import Configuration
from lightning_hparams.search import Search
from tests.search import tiny

TRIALS, EPOCHS = 6, 5


def search(folder, log):
    base = Configuration.load(tiny.configuration(EPOCHS, pause=0.05, log=log))
    return Search.of(base, tiny.settings(folder, trials=TRIALS, workers=2, retries=5))


if __name__ == "__main__":
    where = Path(sys.argv[1])
    results = search(where, f"{where}.log").run(watch=len)  # without a table
    print("finished" if results.finished else "stopped", flush=True)
