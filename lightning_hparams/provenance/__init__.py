"""Manifests of runs, without secrets, and their comparison; may import no other room."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
