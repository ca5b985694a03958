"""Reads and writes checkpoints in their two formats: Lightning's `best.ckpt`, and `model.safetensors`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from twostream.files.errors import one_line
from twostream.files.extras import missing_extra
from twostream.options.choices import FORMATS

SAFE = FORMATS["safetensors"]
TRAINED_ON = "trained_on.videos"  # beside the weights: hashes of the names of the training videos
FORMAT = "twostream 1"
MOST_CLASSES = 20_000  # a confusion matrix of that many takes 3 GB


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns `state_dict`, `classes`, `thresholds` and `trained_on` (see `History`) of a checkpoint.

    Runs no pickled code. The last two need not be there.

    Raises ValueError that names the file if it is no checkpoint; ImportError if safetensors is missing.
    """
    with _errors_name_file(path):
        content = _read_safetensors(path) if path.suffix == ".safetensors" else load_plain(path)
        _check(content, path.stat().st_size)
    return content


def read_plain(path: Path) -> Any:
    """As `load_plain`, but raises ValueError that names the file for anything wrong with it."""
    with _errors_name_file(path):
        return load_plain(path)


@contextmanager
def _errors_name_file(path: Path) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # every kind of damage is an exception of its own
        reason = one_line(error) if type(error) is ValueError else type(error).__name__
        raise ValueError(f"{path}: cannot be read as a checkpoint ({reason})") from None


def load_plain(path: Path) -> Any:
    """Returns what torch.save has written, if it is only plain values and tensors; runs no pickled code.

    Memory stays near the size of the file: raises ValueError for a file that unpacks to more, and for tensors that
    claim more. Raises the errors of torch.load for any other file.
    """
    check_size(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    size = path.stat().st_size
    for tensor in _tensors(content):
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.nbytes > size:
            raise ValueError(f"holds a {tensor.layout} tensor of shape {tuple(tensor.shape)}, more than the file")
    return content


def load_without_memory(path: Path) -> Any:
    """Returns the content of a checkpoint without the values of its tensors."""
    check_size(path)
    return torch.load(path, map_location="meta", weights_only=True, mmap=True)


def load_mapped(path: Path) -> Any:
    """As `load_plain`, for an archive that has been checked before; reads only the tensors that are used."""
    check_size(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def check_size(path: Path) -> None:
    """Raises ValueError for an archive that unpacks to more than its size, which torch.save never makes."""
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\3\4"
    if zipped:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise ValueError("unpacks to more than its size")


def _check(content: Any, size: int) -> None:
    """Raises ValueError unless `content` is what a run writes: names -> tensors, and the names of classes."""
    if not isinstance(content, Mapping) or not {"state_dict", "classes"} <= content.keys():
        raise ValueError("holds no state_dict and classes, as those of twostream do")
    state, classes = content["state_dict"], content["classes"]
    named = isinstance(state, Mapping) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError("its state_dict is not names and tensors")
    if sum(tensor.nbytes for tensor in state.values()) > 2 * size:  # two names may share a tensor
        raise ValueError("its tensors share memory: they are more than the file")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("its classes are not a list of names")
    if not 0 < len(classes) <= MOST_CLASSES:
        raise ValueError(f"it has {len(classes):,} classes, not 1 to {MOST_CLASSES:,}")


def _tensors(content: Any, depth: int = 0) -> Iterator[Tensor]:
    """Yields all tensors in nested values."""
    if isinstance(content, Tensor):
        yield content
    parts = content.values() if isinstance(content, Mapping) else content
    for part in parts if isinstance(content, (Mapping, list, tuple)) and depth < 100 else ():
        yield from _tensors(part, depth + 1)


def write_safetensors(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the weights of a checkpoint, classes, thresholds and training history; not what only training needs."""
    safetensors = require_safetensors()
    tensors = {name: tensor.contiguous() for name, tensor in content["state_dict"].items()}
    metadata = {"format": FORMAT, "classes": json.dumps(list(content["classes"]))}
    if (thresholds := content.get("thresholds")) is not None:
        metadata["thresholds"] = json.dumps(list(thresholds))
    if trained_on := content.get("trained_on"):
        tensors[TRAINED_ON] = trained_on["videos"]
        metadata["trained_on"] = json.dumps(list(trained_on["lists"]))
    path.write_bytes(safetensors.save(tensors, metadata=metadata))  # save_file makes a file that others cannot read


def _read_safetensors(path: Path) -> dict[str, Any]:
    safetensors = require_safetensors()
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
    content: dict[str, Any] = {"classes": json.loads(metadata["classes"])}
    if "thresholds" in metadata:
        content["thresholds"] = json.loads(metadata["thresholds"])
    if TRAINED_ON in tensors:
        content["trained_on"] = {"lists": json.loads(metadata["trained_on"]), "videos": tensors.pop(TRAINED_ON)}
    return {"state_dict": tensors, **content}


def require_safetensors() -> Any:
    """Returns the library. Raises ImportError that names the extra if it is missing."""
    try:
        import safetensors.torch  # it is an extra
    except ImportError:
        raise missing_extra("a .safetensors file", "safetensors", "hub") from None
    return safetensors.torch
