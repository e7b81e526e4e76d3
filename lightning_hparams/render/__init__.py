"""Draw task outputs as uint8 pictures ``(H, W, 3)`` and encode them; may import metrics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
