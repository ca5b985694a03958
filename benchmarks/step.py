"""What a training step costs beside the network: `python -m benchmarks.step [OVERRIDE…] [--steps N]`.

The step of a run (Lightning, with the callbacks that `python train.py` adds) against a bare loop of the same network
and optimizer, in turns on the same batches, that are made once: nothing is loaded. Then, for one step, the operations
that PyTorch is asked for and the calls for which the host would wait for a GPU, and where these are. The latter are
counted on a CPU, too, where waiting costs nothing. Last, three parts of the step against what they replaced.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import MeanMetric

from twostream.config.compose import compose_config
from twostream.config.run import Run, build_run
from twostream.data.clip import Clip
from twostream.files.signals import Signals
from twostream.metrics.running import FiniteMean
from twostream.training.callbacks import Alive, MovingAverage, Speed
from twostream.training.finiteness import FiniteLoss
from twostream.training.lists import copy_all
from twostream.training.recovery import Recovery

PLAIN = ("epochs=1", "num_workers=0", "logger=csv", "data.train_clips=32", "data.test_clips=16")
READS = {
    *(torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.equal, torch.equal),
    *(torch.Tensor.__bool__, torch.Tensor.__float__, torch.Tensor.__int__, torch.Tensor.__index__),
    *(torch.Tensor.nonzero, torch.nonzero),
}
MADE_OF_NUMBERS = {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor}  # copied to the device, which is waited for
WAITING = {
    f"aten.{name}" for name in ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "bincount")
}
OURS = ("twostream", "pytorch_lightning", "torchmetrics", "optim")  # folders whose lines are named


class Waits(TorchFunctionMode):
    """Counts, while it is entered, operations, and by their place the calls for which the host waits for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()
        self.below = Operations(self)
        self.noted = False  # inside of a call that has been counted

    def __enter__(self) -> Waits:
        super().__enter__()
        self.below.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.below.__exit__(*error)
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        to_host = func is torch.Tensor.to and "cpu" in args[1:]  # a `torch.device` may be where it lies already
        numbers = func in MADE_OF_NUMBERS and not isinstance(args[-1], Tensor)
        waits = func in READS or numbers or (to_host and not kwargs.get("non_blocking"))
        if not waits or self.noted:
            return func(*args, **kwargs)
        self.note(func.__name__)
        self.noted = True
        try:
            return func(*args, **kwargs)
        finally:
            self.noted = False

    def note(self, name: str) -> None:
        frame = sys._getframe()
        while frame is not None and not (set(OURS) & set(Path(frame.f_code.co_filename).parts[-4:-1])):
            frame = frame.f_back
        place = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}" if frame else "?"
        self.places[f"{place} {name}"] += 1


class Operations(TorchDispatchMode):
    """Counts the operations that reach PyTorch's dispatcher, and notes those that wait."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        name = self.names[-1].rpartition(".")[0]
        by_mask = name == "aten.index" and any(part is not None and part.dtype == torch.bool for part in args[1])
        if (name in WAITING or by_mask) and not self.waits.noted:
            self.waits.note(name)
        return func(*args, **(kwargs or {}))


class Fixed:
    """A loader of the same few batches again and again."""

    def __init__(self, batches: Sequence[Clip], steps: int) -> None:
        self.batches = batches
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Clip]:
        return (self.batches[step % len(self.batches)] for step in range(self.steps))


class Watch(pl.Callback):
    """Counts step number `count`; calls `after` behind the others, and times both. Has to be the last callback."""

    def __init__(self, device: torch.device, *, count: int, after: Callable[[Clip], None] = lambda _: None) -> None:
        self.device = device
        self.count = count
        self.after = after
        self.waits = Waits()
        self.steps: list[float] = []
        self.others: list[float] = []
        self._since: float | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.count:
            self.waits.__enter__()
        elif batch_idx == self.count + 1:  # behind all that belongs to the step, the hooks of its end included
            self.waits.__exit__(None, None, None)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.count:
            self._since = None  # a step that is counted takes longer
            return
        if self._since is not None:
            self.steps.append(seconds(self.device) - self._since)
        began = seconds(self.device)
        self.after(batch)
        self._since = seconds(self.device)
        self.others.append(self._since - began)


def seconds(device: torch.device) -> float:
    """Returns a time: of the device when it has done its work, or of this thread's work on a CPU."""
    if device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def batches_of(cfg: DictConfig, run: Run, number: int = 2) -> list[Clip]:
    """Returns batches of random numbers, in the shapes of the run's clips, pinned if there is a GPU."""
    clip, n = run.data.train_set[(0, 0)], cfg.batch_size
    assert clip is not None
    random = torch.Generator().manual_seed(0)

    def like(part: Tensor, low: int, high: int) -> Tensor:
        return torch.randint(low, high, (n, *part.shape), dtype=part.dtype, generator=random)

    def batch() -> Clip:
        labels = torch.randint(len(run.source.classes), (n,), generator=random)
        return Clip(like(clip.first, 0, 255), like(clip.second, -127, 127), labels, torch.arange(n))

    made = [batch() for _ in range(number)]
    return [Clip(*(part.pin_memory() for part in one)) for one in made] if torch.cuda.is_available() else made


def run_steps(overrides: Sequence[str], steps: int, *, bare: bool = True) -> tuple[Run, Watch]:
    """Trains for some steps, each followed by one of a bare loop; counts the third from the end."""
    cfg = compose_config([*PLAIN, *overrides])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        claim: Any = SimpleNamespace(beat=lambda: None)
        recovery = Recovery(folder, minutes=60, cell="", signals=Signals())
        guards = [Alive(claim), recovery, FiniteLoss(folder, nonfinite=cfg.nonfinite), Speed()]
        run, other = build_run(cfg, folder, guards), build_run(cfg, folder)
        device = run.trainer.strategy.root_device
        batches = batches_of(cfg, run)
        after = bare_step(other, device, run.trainer.precision_plugin.forward_context) if bare else lambda _: None
        watch = Watch(device, count=steps - 3, after=after)
        callbacks: list[pl.Callback] = run.trainer.callbacks  # type: ignore[attr-defined]
        run.trainer.callbacks = [*(c for c in callbacks if not isinstance(c, ModelCheckpoint)), watch]  # type: ignore[attr-defined]
        run.trainer.limit_val_batches = 0
        run.data.train_dataloader = lambda: Fixed(batches, steps)  # type: ignore[method-assign,assignment]
        run.trainer.fit(run.system, run.data)
    return run, watch


def bare_step(run: Run, device: torch.device, context: Callable[[], Any]) -> Callable[[Clip], None]:
    """Returns a function that trains another network of the same kind on a batch, without anything else."""
    system = run.system.to(device).train()
    optimizer = system.make_optimizer(system.network)

    def step(batch: Clip) -> None:
        with context():
            heads, _ = system(batch)
            loss = system.loss(heads, batch.label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def operations(call: Callable[[], Any]) -> tuple[int, int]:
    """Returns how many operations a call makes, and for how many of its calls the host waits."""
    with Waits() as waits:
        call()
    return len(waits.below.names), waits.places.total()


def parts_of_a_step(system: pl.LightningModule) -> dict[str, list[tuple[int, int]]]:
    """Returns {part: (operations, waits) of what was replaced, and of what is there now}."""
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=system.device), global_step=1)
    averages = []
    for average in (WeightAveraging(avg_fn=lambda a, b, _: 0.9 * a + 0.1 * b), MovingAverage(0.9)):
        average.setup(trainer, system, "fit")
        average.on_train_start(trainer, system)
        for trainer.global_step in (1, 2):
            call = partial(average.on_train_batch_end, trainer, system, None, None, 0)
            found = operations(call)
        averages.append(found)
    buffers = list(system.buffers())
    kept = [buffer.clone() for buffer in buffers]
    loss = torch.ones((), device=system.device)
    means: list[Any] = [metric.to(system.device) for metric in (MeanMetric(), FiniteMean())]
    return {
        "moving average of weights": averages,
        "buffers kept for a step that is not finite": [
            operations(lambda: [buffer.clone() for buffer in buffers]),
            operations(lambda: copy_all(kept, buffers)),
        ],
        "mean loss of the epoch": [operations(partial(metric.update, loss, weight=8)) for metric in means],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.step", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as of train.py, e.g. backbone=resnet18")
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args(arguments)
    run, watch = run_steps(options.overrides, options.steps)
    ours, bare = (1e3 * statistics.median(times[len(times) // 4 :]) for times in (watch.steps, watch.others))
    print(f"{' '.join(options.overrides) or 'default'}: median of {len(watch.steps)} steps in turns, {watch.device}")
    print(f"step of a run {ours:.2f} ms, bare loop {bare:.2f} ms, ratio {ours / bare:.3f}")
    print(f"one step: {len(watch.waits.below.names)} operations, {watch.waits.places.total()} waits")
    for place, number in watch.waits.places.most_common():
        print(f"  {number} x {place}")
    print(f"{'part: operations (waits)':<45}{'replaced':>14}{'now':>14}")
    for part, sides in parts_of_a_step(nn_of(run)).items():
        print(f"{part:<45}" + "".join(f"{f'{number} ({waits})':>14}" for number, waits in sides))


def nn_of(run: Run) -> pl.LightningModule:
    """Returns the network alone, as a module that callbacks take."""
    module = pl.LightningModule()
    module.network = run.system.network
    assert isinstance(module.network, nn.Module)
    return module


if __name__ == "__main__":
    main()
