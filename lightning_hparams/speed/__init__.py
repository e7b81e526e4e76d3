"""Step times, throughput and the advice that follows from them, on a clock given as an argument."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
