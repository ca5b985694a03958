"""What a checkpoint holds, in either of its files: Lightning's `best.ckpt`, and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

SAFE = "model.safetensors"
TRAINED_ON = "trained_on.videos"  # beside the weights: hashes of the names of the training videos
FORMAT = "twostream 1"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """`state_dict`, `classes` and `trained_on` (see `History`); nothing that is pickled is run.

    Raises ValueError, naming the file, for one that is no checkpoint; ImportError without safetensors.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every kind of damage is an exception of its own
        raise ValueError(f"{path}: cannot be read as a checkpoint ({type(error).__name__})") from None


def write_safetensors(path: Path, content: Mapping[str, Any]) -> None:
    """The weights of a checkpoint, its classes and what it was trained on, without what only training needs."""
    safetensors = require_safetensors()
    tensors = {name: tensor.contiguous() for name, tensor in content["state_dict"].items()}
    metadata = {"format": FORMAT, "classes": json.dumps(list(content["classes"]))}
    if trained_on := content.get("trained_on"):
        tensors[TRAINED_ON] = trained_on["videos"]
        metadata["trained_on"] = json.dumps(list(trained_on["lists"]))
    path.write_bytes(safetensors.save(tensors, metadata=metadata))  # save_file makes a file that others cannot read


def _read_safetensors(path: Path) -> dict[str, Any]:
    safetensors = require_safetensors()
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
        content: dict[str, Any] = {"classes": json.loads(metadata["classes"])}
        if TRAINED_ON in tensors:
            content["trained_on"] = {
                "lists": json.loads(metadata["trained_on"]),
                "videos": tensors.pop(TRAINED_ON),
            }
    except Exception as error:  # every kind of damage is an exception of its own
        raise ValueError(f"{path}: cannot be read as a checkpoint ({' '.join(str(error).split())})") from None
    return {"state_dict": tensors, **content}


def require_safetensors() -> Any:
    """The library; ImportError that names the extra where it is missing."""
    try:
        import safetensors.torch  # it is an extra
    except ImportError:
        raise ImportError("safetensors is not installed: pip install 'twostream[hub]'") from None
    return safetensors.torch
