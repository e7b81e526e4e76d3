"""Reading LR range tests: curve, result, comparison of other parameters; may import render."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
