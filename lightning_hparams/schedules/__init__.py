"""Schedules as functions of (step, total), and the bounds they move between; may import optim."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
