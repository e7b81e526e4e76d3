"""Runs sweeps of a range test on a separate Trainer; may import sinks and the lower half."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
