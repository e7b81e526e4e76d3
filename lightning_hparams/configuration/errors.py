"""Errors of a configuration in one sentence."""

from __future__ import annotations

__all__ = ["ConfigurationError"]


class ConfigurationError(ValueError):
    """A mistake in a configuration, as one sentence: the rule, the value and the remedy."""
