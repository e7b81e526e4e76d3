"""Samples taken from step outputs, one file per kind of task; may import metrics and render."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
