"""What hangs on a Trainer; may import every room but tasks and data, and no callback another."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
