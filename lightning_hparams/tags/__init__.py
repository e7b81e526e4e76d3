"""Tags of logged values: building and parsing them, which direction is better, their charts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
