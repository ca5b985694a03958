"""The one door to torchvision's networks."""

from __future__ import annotations

from types import ModuleType


def torchvision_models(backbone: str) -> ModuleType:
    """`torchvision.models`. Raises ImportError, with a way out, where torchvision is missing or broken."""
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # RuntimeError: a wheel made for another version of torch
        raise ImportError(
            f"backbone={backbone}: torchvision cannot be imported ({error}); install the torchvision made for this "
            "version of torch, or choose from vgg_m, tiny, which do without"
        ) from error
    return models
