"""A LightningCLI configuration as a value; may import callbacks, tasks, data and presets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
