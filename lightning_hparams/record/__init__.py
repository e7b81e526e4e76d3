"""The record of a run: its row, metrics, manifest; may import sinks, provenance and tags."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
