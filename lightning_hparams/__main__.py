"""``python -m lightning_hparams``."""

import sys

from lightning_hparams.cli import main

if __name__ == "__main__":
    sys.exit(main())
