"""The classes of this package that a configuration can name."""

import inspect

from lightning import Callback, LightningDataModule, LightningModule

import lightning_hparams

CLASSES = [
    each
    for name in lightning_hparams.__all__
    if inspect.isclass(each := getattr(lightning_hparams, name))
    and issubclass(each, (Callback, LightningDataModule, LightningModule))
]
