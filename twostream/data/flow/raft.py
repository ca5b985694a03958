"""RAFT, a flow that a network computes: in batches, on a GPU if there is one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8

from twostream.data.flow.optical_flow import OpticalFlow
from twostream.files.digest import sha256
from twostream.runs.checkpoint import load_plain

SIZES = ("small", "large")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "bfloat16")
# Sides are padded to a multiple of STEP and to LEAST at least: RAFT's features have an eighth of the resolution, and
# their four pyramid levels need 16 of them a side.
STEP, LEAST = 8, 128

_alone = threading.Lock()  # the random generator and the number of threads belong to the whole process


class RAFT(OpticalFlow):
    """Recurrent all-pairs field transforms (Teed & Deng 2020), torchvision's network.

    Reads RGB. On a CPU it takes seconds per pair: compute the flow beforehand, with `twostream flow`.

    The last bits of a field depend on the other pairs of its batch and on the number of threads. So a CPU computes one
    pair at a time on one thread, as loader workers do anyway, and a GPU always computes `batch_size` pairs: if fewer
    are left, the last one is repeated. A frame that is in two pairs of a batch is encoded once. Fields of different
    devices, and of different batch sizes on a GPU, agree to about 1e-5 pixels.

    The network is created on first use in each process and never pickled, so that fork and spawn both work.

    Args:
        size: "small" or "large".
        weights: "default" (torchvision's, downloaded once), a file with a state dict, or "random", for trying things
            out: always the same weights, which give no useful flow.
        iterations: refinements of the field.
        batch_size: pairs computed together on a GPU.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        precision: "float32", or "bfloat16", which a GPU computes faster and less exactly: other fields.

    Raises ValueError for an unknown size, weights or device, and for numbers below 1.
    """

    not_in_settings = ("length", "batch_size", "device")

    def __init__(
        self,
        *,
        size: str = "small",
        weights: str = "default",
        iterations: int = 12,
        batch_size: int = 8,
        device: str = "auto",
        precision: str = "float32",
        length: int = 10,
        bound: float = 20.0,
        short_side: int | None = None,
    ) -> None:
        super().__init__(length=length, bound=bound, short_side=short_side)
        if size not in SIZES:
            raise ValueError(f"flow.size={size!r}: RAFT has no such size; choose from {', '.join(SIZES)}")
        if device not in DEVICES or (device == "cuda" and not torch.cuda.is_available()):
            raise ValueError(f"flow.device={device!r}: not available; choose from {', '.join(DEVICES)}")
        if weights is None or (weights not in ("default", "random") and not Path(weights).is_file()):
            raise ValueError(f"flow.weights={weights!r}: no such file; choose default, random or a state dict's path")
        if precision not in PRECISIONS:
            raise ValueError(f"flow.precision={precision!r}: choose from {', '.join(PRECISIONS)}")
        if min(iterations, batch_size) < 1:
            raise ValueError(f"flow.iterations={iterations!r}, batch_size={batch_size!r}: must be at least 1")
        self.size = size
        self.weights = weights
        self.iterations = iterations
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self._network: torch.nn.Module | None = None
        self._process: int | None = None  # the process that created the network

    @property
    def on_gpu(self) -> bool:
        """Whether fields are computed on a GPU; one process is then enough to keep the GPU busy."""
        return self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())

    def settings(self) -> dict[str, Any]:
        settings = super().settings()
        if self.precision == "float32":  # as all stores before there was another
            del settings["precision"]
        if self.weights not in ("default", "random"):  # the content of the file counts, not its path
            settings["weights"] = "sha256:" + sha256(self.weights)
        return settings

    def compute(
        self, previous: UInt8[np.ndarray, "h w 3"], following: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w 2"]:
        return self.compute_batch([(previous, following)])[0]

    def compute_batch(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Sequence[np.ndarray]:
        together = self.batch_size if self.on_gpu else 1
        with _alone, _same_bits():
            fields = []
            for start in range(0, len(pairs), together):
                batch = list(pairs[start : start + together])
                fields += self._fields(batch + batch[-1:] * (together - len(batch)))[: len(batch)]
        return fields

    def _fields(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        if self._network is None or self._process != os.getpid():
            self._network, self._process = self._create(), os.getpid()
        height, width = pairs[0][0].shape[:2]
        frames = [pair[side] for side in (0, 1) for pair in pairs]
        distinct = list({id(frame): frame for frame in frames}.values())
        number = {id(frame): place for place, frame in enumerate(distinct)}
        in_a_row = len(pairs) + 1  # frames of successive pairs
        wanted = in_a_row if len(distinct) <= in_a_row else 2 * len(pairs)
        encoder: Any = self._network.feature_encoder
        half = torch.autocast("cuda" if self.on_gpu else "cpu", torch.bfloat16, enabled=self.precision == "bfloat16")
        with torch.inference_mode(), half:
            encoder.images = self._input(distinct + distinct[-1:] * (wanted - len(distinct)))
            encoder.places = [number[id(frame)] for frame in frames]
            one, other = encoder.images[encoder.places].chunk(2)
            fields = self._network(one, other, num_flow_updates=self.iterations)[-1]
        return [*fields[..., :height, :width].permute(0, 2, 3, 1).float().cpu().contiguous().numpy()]

    def _create(self) -> torch.nn.Module:
        from torchvision.models import optical_flow as networks  # takes a second to import

        make = networks.raft_small if self.size == "small" else networks.raft_large
        if self.weights == "default":
            network = make(weights="DEFAULT")
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network = make(weights=None)
        if self.weights not in ("default", "random"):
            try:
                network.load_state_dict(load_plain(Path(self.weights)))
            except Exception as error:  # each kind of damage raises a different exception
                raise ValueError(
                    f"flow.weights={self.weights!r}: no state dict of raft_{self.size} ({error})"
                ) from None
        network.feature_encoder = EachOnce(network.feature_encoder)
        return network.eval().to("cuda" if self.on_gpu else "cpu")

    def _input(self, frames: Sequence[np.ndarray]) -> torch.Tensor:
        """Returns the network's input: (n, 3, h, w) in [-1, 1], padded at the bottom and the right."""
        images = torch.from_numpy(np.stack(frames)).to("cuda" if self.on_gpu else "cpu").permute(0, 3, 1, 2)
        height, width = images.shape[-2:]
        missing = [max(LEAST, -(-side // STEP) * STEP) - side for side in (height, width)]
        return F.pad(images.float() / 127.5 - 1, (0, missing[1], 0, missing[0]), mode="replicate")

    def _prepare(self, frame: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
        return self._resize(frame)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_network": None, "_process": None}


class EachOnce(torch.nn.Module):
    """Encodes each frame of a batch once, though it is in two pairs; `images` are the frames, `places` the pairs'."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.images = torch.empty(0)
        self.places: list[int] = []

    def forward(self, _images: torch.Tensor) -> torch.Tensor:
        """Returns the features of both frames of all pairs, as RAFT's forward pass wants them."""
        return self.encoder(self.images)[self.places]


@contextmanager
def _same_bits() -> Iterator[None]:
    """Uses one thread on the CPU and deterministic kernels of cuDNN on a GPU inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
    finally:
        torch.set_num_threads(threads)
