"""Private attributes of other packages that this one needs; may import no other room."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
