"""Metrics that count, and scores as functions of their counts; may import no other room."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
