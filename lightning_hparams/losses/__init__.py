"""Losses as functions of logits and target, and a weighted sum of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
