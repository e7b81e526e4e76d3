"""The command line ``lightning-hparams``; may import every other room, and none imports it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
