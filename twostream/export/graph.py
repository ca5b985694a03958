"""Writes a network as one file that runs without this package: a PyTorch program (.pt2) or ONNX.

Its inputs are the streams of one view, such as rgb uint8 (n, t, 3, h, w) and flow int8 (n, t, 2L, h, w), with any n; t,
L, h and w are those of the training. Normalisation is inside. Its output is the score that is evaluated, (n, k), before
softmax.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from twostream.files.extras import missing_extra
from twostream.models.network.parts import parts

FAMILIES = ("fusion", "temporal", "pooling", "attention", "backbone")  # of twostream.models: an option names a part
LARGEST_FILE = 1_900_000_000  # bytes of weights in an ONNX file (at most 2 GiB); more go into a file beside it

Streams = Mapping[str, Tensor]  # {"rgb": …, "flow": …}, or one stream, in the order of the network
Predict = Callable[[Streams], Float[Tensor, "n k"]]


class Scorer(nn.Module):
    """Computes the combined score of a network, of its one or two streams."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, first: Tensor, second: Tensor | None = None) -> Float[Tensor, "n k"]:
        return self.network.combine(self.network(first, second))


def scorer(network: nn.Module) -> Scorer:
    """Returns the network as a module from its streams to its score."""
    return Scorer(network).eval()


def write_pt2(module: nn.Module, example: Streams, path: Path) -> None:
    """Writes a program with torch.export; `torch.export.load(path).module()(rgb, flow)` runs it."""
    with quiet():
        torch.export.save(program(module, example), path)


def load_pt2(path: Path) -> Predict:
    """Returns a function that runs the program in a file."""
    loaded = torch.export.load(path).module()

    def predict(inputs: Streams) -> Tensor:
        with torch.inference_mode():
            return loaded(*inputs.values())

    return predict


def write_onnx(module: nn.Module, example: Streams, path: Path) -> None:
    """Writes ONNX with the streams as inputs, by their names, and the output `score`.

    Weights of 2 GB lie in a file of their own beside it.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    with quiet():
        onnx = to_onnx(module, example, input_names=list(example), output_names=["score"])
        onnx.save(path, external_data=weights > LARGEST_FILE)


def to_onnx(module: nn.Module, example: Any, **names: Any) -> Any:
    """Returns the ONNX program of a module; see `program`."""
    return torch.onnx.export(program(module, example), dynamo=True, verbose=False, **names)


def load_onnx(path: Path) -> Predict:
    """Returns a function that runs the network in a file, with ONNX Runtime on the CPU."""
    session = require_onnx().InferenceSession(path, providers=["CPUExecutionProvider"])

    def predict(inputs: Streams) -> Tensor:
        [score] = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        return torch.from_numpy(score)

    return predict


def program(module: nn.Module, example: Any) -> torch.export.ExportedProgram:
    """Returns the operations of a module, for inputs of any batch size.

    The batch size of `example` is 2, since PyTorch treats 0 and 1 as special. Raises whatever PyTorch raises for a
    module that it cannot export.
    """
    arguments = tuple(example.values()) if isinstance(example, Mapping) else tuple(example)
    dynamic = pytree.tree_map(lambda _: {0: Dim.DYNAMIC}, arguments)
    made = torch.export.export(module, arguments, dynamic_shapes=dynamic)
    for part in made.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, GraphModule) else ():
            node.meta.pop("stack_trace", None)  # it names paths on this machine
    return made


def culprit(module: Scorer, example: Streams, convert: Callable[[nn.Module, Any], Any]) -> str:
    """Returns, in words, the innermost part of a network that `convert` cannot take even by itself.

    Backbones are tried last: they have the most parts, and are the least likely.
    """
    seen: dict[str, Any] = {}

    def note(name: str) -> Any:
        return lambda _, given: seen.setdefault(name, given) and None

    network, named = module.network, parts_of_options(module.network)
    handles = [network.get_submodule(name).register_forward_pre_hook(note(name)) for name in named]
    with torch.no_grad():
        module(*example.values())
    for handle in handles:
        handle.remove()
    for name in sorted(seen, key=lambda name: (FAMILIES.index(named[name].split()[0]), -name.count("."))):
        try:
            with quiet():
                convert(network.get_submodule(name), seen[name])
        except Exception:
            return named[name]
    return "the network as a whole"


def parts_of_options(network: nn.Module) -> dict[str, str]:
    """Returns {name: option, class and place in words} of all modules that an option has chosen, at any depth.

    These are the stages of a backbone, and whatever has its class in one of the families.
    """
    stages = {part.module for part in parts(network) if part.role == "stage"}
    found = {}
    for name, module in network.named_modules():
        package, models, family, *_ = (*type(module).__module__.split("."), "", "", "")
        if (package, models) != ("twostream", "models") or family not in FAMILIES:
            family = "backbone" if module in stages else ""
        if family:
            found[name] = f"{family} {type(module).__name__} (at {name})"
    return found


def require_onnx() -> Any:
    """Returns ONNX Runtime. Raises ImportError, naming the extra, if it or what writes ONNX is missing."""
    try:
        import onnx  # noqa: F401 - an extra, as are the others
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_extra("--format onnx", str(error.name), "onnx") from None
    return onnxruntime


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what the exporters log and warn inside the block; errors are raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
