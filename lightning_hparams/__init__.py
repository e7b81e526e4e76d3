"""Learning rates, schedules, losses, metrics and pictures for vision models with Lightning.

Names are imported when first used, so that ``import lightning_hparams`` costs nothing. The names
stand in ``__init__.pyi``, here and in each package below.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
