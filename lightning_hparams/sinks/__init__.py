"""Where monitors write: one interface over Lightning's loggers; may import the pure rooms."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
