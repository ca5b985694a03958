"""Measures what layers cost, side by side in one run: `python -m benchmarks.layer_costs`."""

from __future__ import annotations

import argparse
import time
import weakref
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from twostream.config.compose import compose_config
from twostream.config.run import build_system
from twostream.data.clip import Clip
from twostream.models.fusion import BilinearFusion
from twostream.models.network.description import count_parameters
from twostream.models.pooling import BilinearPool, CompactBilinear, NetVLAD
from twostream.options import conf_folder
from twostream.training.system import TwoStreamSystem

NUM_CLASSES = 16


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of tensors that are made inside the block, forward and backward, while they are alive.

    The count does not depend on the allocator. `peak`: the most bytes at one time. `largest`: those of the largest
    tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.largest = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        weakref.finalize(storage, self._free, key, size)
        self.now += size
        self.peak, self.largest = max(self.peak, self.now), max(self.largest, size)

    def _free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def outer_products(rgb: Tensor, flow: Tensor) -> Tensor:
    """Computes bilinear fusion as it is defined: the products at each location, (n, a, b, h, w), then their sum."""
    z = (rgb[:, :, None] * flow[:, None]).sum((3, 4)).flatten(1)
    return F.normalize(z.sign() * (z.abs() + 1e-5).sqrt())


def naive_netvlad(layer: NetVLAD, x: Tensor) -> Tensor:
    """Computes NetVLAD with the tensor of all residuals, (n, K, c, hw)."""
    x = F.normalize(x).flatten(2)
    assignment = (layer.weight @ x + layer.bias[:, None]).softmax(1)
    residuals = x[:, None] - layer.centres[:, :, None]
    vectors = (assignment[:, :, None] * residuals).sum(3)
    return F.normalize(F.normalize(vectors, dim=2).flatten(1))


def forward_and_backward(layer: Callable[..., Tensor], *maps: Tensor) -> tuple[int, float]:
    """Returns the peak bytes besides the inputs, and the seconds (the better of two, measured without the count)."""
    leaves = [value.requires_grad_() for value in maps]

    def run() -> None:
        layer(*leaves).square().sum().backward()
        for leaf in leaves:
            leaf.grad = None

    with PeakMemory() as memory:
        run()
    times = []
    for _ in range(2):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return memory.peak, min(times)


def print_against_naive(title: str, ours: tuple[int, float], naive: tuple[int, float]) -> None:
    print(
        f"{title}: {ours[0] / 1e6:,.0f} MB, {1e3 * ours[1]:,.0f} ms; naive {naive[0] / 1e6:,.0f} MB, "
        f"{1e3 * naive[1]:,.0f} ms: {naive[0] / ours[0]:.0f} times the memory, {naive[1] / ours[1]:.0f} times the time"
    )


def compare_with_naive(batch: int = 16, channels: int = 512, side: int = 14) -> None:
    """Compares second-order and VLAD layers with their formulas as they are written down; forward and backward."""
    print(f"forward and backward of {batch} maps of {channels} x {side} x {side}:")
    rgb, flow = torch.rand(batch, channels, side, side), torch.rand(batch, channels, side, side)
    bilinear = forward_and_backward(BilinearFusion(channels, channels), rgb, flow)
    print_against_naive("bilinear fusion", bilinear, forward_and_backward(outer_products, rgb, flow))
    layer = NetVLAD(channels, 64)
    naive = forward_and_backward(lambda x: naive_netvlad(layer, x), rgb)
    print_against_naive("NetVLAD, K = 64", forward_and_backward(layer, rgb), naive)
    full, compact = BilinearPool(channels).out_channels, CompactBilinear(channels, 8192).out_channels
    print(
        f"a classifier reads {full:,} numbers of bilinear pooling, {compact:,} of a compact one: x{full / compact:.0f}"
    )


class Candidate:
    """The embedded data set's network with one option, ready to take steps."""

    def __init__(self, option: str, clip: Clip) -> None:
        self.option, self.clip = option, clip
        torch.manual_seed(0)
        self.system: TwoStreamSystem = build_system(compose_config([option]), tuple(map(str, range(NUM_CLASSES))))
        self.optimizer = self.system.make_optimizer(self.system.network)
        self.parameters = count_parameters(self.system.network)
        self.seconds: list[float] = []

    def step(self) -> None:
        started = time.perf_counter()
        heads, _ = self.system(self.clip)
        self.system.loss(heads, self.clip.label).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seconds.append(time.perf_counter() - started)


def time_options(group: str, *, rounds: int = 20, batch: int = 32) -> None:
    """Times a training step with each option of a group.

    The options take turns, so that all meet the same disturbances.
    """
    random = torch.Generator().manual_seed(0)
    clip = Clip(
        first=torch.randint(0, 256, (batch, 1, 1, 3, 64, 64), generator=random, dtype=torch.uint8),
        second=torch.randint(-127, 128, (batch, 1, 1, 10, 64, 64), generator=random, dtype=torch.int8),
        label=torch.randint(0, NUM_CLASSES, (batch,), generator=random),
        index=torch.arange(batch),
    )
    names = sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))
    candidates = [Candidate(f"{group}={name}", clip) for name in names]
    for _ in range(rounds):
        for candidate in candidates:
            candidate.step()
    print(f"\n{group + ', batch ' + str(batch):<32}{'parameters':>12}{'ms a step':>11}")
    for candidate in candidates:
        milliseconds = 1e3 * min(candidate.seconds)
        print(f"{candidate.option:<32}{candidate.parameters:>12,}{milliseconds:>11.1f}")


def main() -> None:
    """Prints the numbers that docs/layers.md states."""
    argparse.ArgumentParser("python -m benchmarks.layer_costs", description=__doc__).parse_args()
    torch.set_num_threads(1)
    compare_with_naive()
    for group in ("pooling", "attention"):
        time_options(group)


if __name__ == "__main__":
    main()
