"""Imports torchvision's networks, for the other files in this folder."""

from __future__ import annotations

from types import ModuleType


def torchvision_models(backbone: str) -> ModuleType:
    """Imports `torchvision.models`. Raises ImportError, with advice, if torchvision is missing or broken."""
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # RuntimeError: a wheel made for another version of torch
        raise ImportError(
            f"backbone={backbone}: torchvision cannot be imported ({error}); install the torchvision made for this "
            "version of torch, or choose from vgg_m, tiny, which do without"
        ) from error
    return models
