"""Tags of logged values: how they are built and read, which way is better, their charts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
