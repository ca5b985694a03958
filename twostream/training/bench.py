"""Measures where the time of training goes, stage by stage, on the user's own configuration, data and machine."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure

from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset, collate
from twostream.data.flow import pin_threads
from twostream.data.loader import ClipLoader, on_device
from twostream.data.module import VideoDataModule
from twostream.data.samplers import ClipBatches, ClipSampler
from twostream.data.tasks import available_cores
from twostream.files.errors import ExpectedError
from twostream.files.words import counted
from twostream.training.system import TwoStreamSystem

LOADING = ("open", "decode", "flow", "transform", "collate")
READING = {"count": "open", "read": "decode", "read_moving": "decode", "jpegs": "decode"}  # of a frame source
STORED = {"count": "open", "levels": "flow", "jpegs": "flow"}  # of a flow store
TRAINING = ("copy", "forward", "backward", "optimizer")
STEPS = 8  # of training in all: the stages take 2 at least, a whole step of a run 3
BATCHES = 3  # that each loader process makes, the first of them uncounted
ENOUGH = 1.1  # a loader this many times as fast as the network keeps it busy


@dataclass
class Bench:
    """What was measured.

    - `loading`, `training`: seconds of each stage for one clip, in one process.
    - `step`: seconds of a whole step for one clip, as a run does it: on a GPU its stages overlap, and callbacks have a
      share in it. None: not measured.
    - `workers`: {number of loader processes: clips/s}.
    - `peak_share`: share of the device's measured bf16 matrix arithmetic that training reaches; None without a GPU.
    - `peak_memory`: bytes; None without a GPU.
    - `batch_size`: clips in a step that was measured: fewer than training has if the time did not allow more.
    """

    configuration: dict[str, Any]
    device: str
    cores: int
    loading: dict[str, float] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    workers: dict[int, float] = field(default_factory=dict)
    peak_share: float | None = None
    peak_memory: int | None = None
    step: float | None = None
    batch_size: int = 0

    @property
    def trained(self) -> float:
        """Clips/s that a run could train on if the loader delivered them."""
        return 1 / (self.step or sum(self.training.values()))

    @property
    def cores_needed(self) -> int:
        """How many cores, each loading clips for itself, deliver as many as can be trained on.

        >>> times = {"decode": 0.01, "flow": 0.07}
        >>> Bench({}, "CPU", 2, times, {"forward": 0.01}).cores_needed
        8
        """
        return math.ceil(round(self.trained * sum(self.loading.values()), 3))

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "trained_clips_per_second": self.trained,
            "cores_needed": self.cores_needed,
            "verdict": verdict(self),
        }


class Stopwatch:
    """Adds up the seconds of named calls. Time in a call inside another one counts for the inner call only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.inner = [0.0]

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        self.inner.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - started
            self.seconds[name] += whole - self.inner.pop()
            self.inner[-1] += whole

    def around(self, name: str, call: Callable) -> Callable:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self(name):
                return call(*args, **kwargs)

        return timed


def bench(
    data: VideoDataModule,
    system: TwoStreamSystem,
    trainer: pl.Trainer,
    *,
    seconds: float,
    precision: str,
    flops: int,
    configuration: dict[str, Any],
) -> Bench:
    """Measures the stages for about `seconds` in all, on training videos only. `flops`: of one clip, forward.

    Where a step takes long, steps of fewer clips are measured, and loaders with smaller batches.

    `trainer`: as a run has it, of one process, without what it does at the end of an epoch.

    Raises `VideoError` if a video cannot be read.
    """
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    result = Bench(configuration, name, available_cores())
    threads = torch.get_num_threads()
    pin_threads()  # as in a worker
    result.loading, clips = time_loading(data.train_set, seconds / 4, most=max(data.batch_size, 2))
    torch.set_num_threads(threads)
    system = system.to(device).train()
    result.batch_size = data.batch_size
    if device.type == "cpu":
        two = batch_of(clips, 2)
        result.batch_size = affordable(lambda: train_on(system, two), data.batch_size, seconds / 4)
    batch = batch_of(clips, result.batch_size)
    if device.type == "cuda":
        batch = Clip(*(part.pin_memory() for part in batch))
    result.training = time_training(system, batch, device, seconds / 8, precision=precision)
    result.step = time_step(trainer, system, batch, seconds / 8)
    if device.type == "cuda":
        result.peak_memory = torch.cuda.max_memory_allocated()
        result.peak_share = 3 * flops * result.trained / peak_flops(device)  # backward takes twice as many as forward
    numbers = sorted({0, *(2**i for i in range(10) if 2**i < result.cores), result.cores})
    share = seconds / 2 / len(numbers)
    size = clips_within(share / BATCHES, sum(result.loading.values()), most=data.batch_size)
    for workers in numbers:
        result.workers[workers] = time_loader(data.train_set, size, workers, share - share / BATCHES)
    return result


def batch_of(clips: Sequence[Clip], size: int) -> Clip:
    """Returns a batch of so many clips, again and again the same if there are fewer."""
    batch = collate([clips[index % len(clips)] for index in range(size)])
    assert batch is not None
    return batch


def train_on(system: TwoStreamSystem, batch: Clip) -> None:
    """Computes the gradients of a batch."""
    system.training_loss(on_device(batch, system.device))[0].backward()
    system.zero_grad()


def affordable(try_two: Callable[[], None], most: int, seconds: float) -> int:
    """Returns the number of clips, 2 to `most`, with which all steps take about `seconds`; `try_two`: a step of two."""
    try_two()  # to warm up
    started = time.perf_counter()
    try_two()
    return min(most, max(2, clips_within(seconds / STEPS, (time.perf_counter() - started) / 2, most=most)))


def clips_within(seconds: float, each: float, *, most: int) -> int:
    """Returns how many clips of `each` so many seconds fit into `seconds`, 1 to `most`.

    >>> clips_within(1.0, 0.3, most=8), clips_within(1.0, 0.1, most=8), clips_within(1.0, 2.0, most=8)
    (3, 8, 1)
    """
    return max(1, min(most, int(seconds / each)))


def time_loading(dataset: ClipDataset, seconds: float, *, most: int) -> tuple[dict[str, float], list[Clip]]:
    """Returns the seconds of each stage for one clip, and the clips made; a first clip, to warm up, is not counted."""
    clock, clips = Stopwatch(), []
    frame_source, flow, store = dataset.frame_source, dataset.flow, dataset.flow_store
    _ = dataset[(0, 0)]
    dataset.frame_source = Timed(frame_source, clock, **READING)  # type: ignore[assignment]
    dataset.flow = Timed(flow, clock, fields="flow")  # type: ignore[assignment]
    dataset.flow_store = store and Timed(store, clock, **STORED)  # type: ignore[assignment]
    make = clock.around("transform", dataset.__getitem__)  # what the other stages leave: crops, colour, quantisation
    started = time.perf_counter()
    try:
        for index in range(len(dataset)):
            clip = make((1, index))
            if clip is not None:
                clips.append(clip)
            if len(clips) >= most or (clips and time.perf_counter() - started > seconds):
                break
    finally:
        dataset.frame_source, dataset.flow, dataset.flow_store = frame_source, flow, store
    with clock("collate"):
        collate(clips)
    return {stage: clock.seconds[stage] / len(clips) for stage in LOADING}, clips


class Timed:
    """Passes everything on to `inner`, and times those of its methods that it has. `stages`: {method: stage}."""

    def __init__(self, inner: Any, clock: Stopwatch, **stages: str) -> None:
        self.inner = inner
        for method, stage in stages.items():
            if hasattr(inner, method):
                setattr(self, method, clock.around(stage, getattr(inner, method)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def time_training(
    system: TwoStreamSystem, batch: Clip, device: torch.device, seconds: float, *, precision: str
) -> dict[str, float]:
    """Returns the seconds of each stage of a training step for one clip of the batch.

    Averages over as many steps as fit into `seconds`, one at least, without the first one.
    """
    optimizer = system.make_optimizer(system.network)
    half = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(precision)
    started = time.perf_counter()
    for step in range(10_000):
        if step == 1:  # the first step has compiled the network and allocated all memory
            started, clock = time.perf_counter(), Stopwatch()
        elif step == 0:
            clock = Stopwatch()
        elif time.perf_counter() - started > seconds:
            break
        with synchronised(clock, "copy", device):
            there = on_device(batch, device)  # with data.decode=gpu, decoding as well
        with synchronised(clock, "forward", device), torch.autocast(device.type, half, enabled=half is not None):
            loss, *_ = system.training_loss(there)
        with synchronised(clock, "backward", device):
            loss.backward()
        with synchronised(clock, "optimizer", device):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return {stage: clock.seconds[stage] / (step - 1) / len(batch.label) for stage in TRAINING}


def time_step(trainer: pl.Trainer, system: TwoStreamSystem, batch: Clip, seconds: float) -> float | None:
    """Returns the seconds of a step of a run for one clip of the batch, again and again the same.

    Averages over as many steps as fit into `seconds`, without the first ones; None if training diverges before.
    """
    steps = Steps(seconds)
    trainer.callbacks.append(steps)  # type: ignore[attr-defined]
    with suppress(ExpectedError):  # a loss that is not finite
        trainer.fit(system, train_dataloaders=Again(batch))
    return steps.seconds / steps.number / len(batch.label) if steps.seconds else None


class Again:
    """A loader of one batch, many times."""

    def __init__(self, batch: Clip, times: int = 10_000) -> None:
        self.batch = batch
        self.times = times

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[Clip]:
        return (self.batch for _ in range(self.times))


class Steps(pl.Callback):
    """Ends training after `most` seconds, and says how many steps that were; the first two are not counted."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.number = 0
        self.seconds = 0.0
        self._started = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx < 2:
            self._wait(trainer)
            self._started = time.perf_counter()
            return
        self.number += 1
        if time.perf_counter() - self._started > self.most:
            self._wait(trainer)
            self.seconds = time.perf_counter() - self._started
            trainer.should_stop = True

    def _wait(self, trainer: pl.Trainer) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()


@contextmanager
def synchronised(clock: Stopwatch, name: str, device: torch.device) -> Iterator[None]:
    """Times the block until the device has finished its work."""
    with clock(name):
        yield
        if device.type == "cuda":
            torch.cuda.synchronize()


def time_loader(dataset: ClipDataset, batch_size: int, workers: int, seconds: float) -> float:
    """Returns the clips/s of the loader of a training with `workers` processes, without its first batch."""
    batches = ClipBatches(ClipSampler(len(dataset), shuffle=True), batch_size)
    clips, started = 0, time.perf_counter()
    for number, batch in enumerate(ClipLoader(dataset, batches, workers=workers)):
        if number == 0 and len(batches) > 1:
            started = time.perf_counter()
            continue
        clips += sum(len(piece.label) for piece in (batch if isinstance(batch, list) else [batch]))
        if time.perf_counter() - started > seconds:
            break
    return clips / (time.perf_counter() - started)


def peak_flops(device: torch.device) -> float:
    """Returns the FLOPs per second of a large bf16 matrix product, the most that this device reaches in practice."""
    a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        torch.matmul(a, a)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(10):
        torch.matmul(a, a)
    torch.cuda.synchronize()
    return 10 * 2 * 8192**3 / (time.perf_counter() - started)


def verdict(result: Bench) -> str:
    """Says in plain words what bounds training here, and what would help.

    >>> times = {"open": 0, "decode": 0.01, "flow": 0.07, "transform": 0.01, "collate": 0}
    >>> measured = Bench({}, "CPU", 2, times, dict.fromkeys(TRAINING, 0.001), {0: 10.0, 2: 20.0})
    >>> verdict(measured)[:77]
    'loading-bound: the network would take 250 clips/s, 2 workers deliver 20. Flow'
    >>> measured.workers[2] = 300.0
    >>> verdict(measured)[:68]
    'compute-bound: the network takes 250 clips/s, 2 workers deliver 300;'
    """
    workers, delivered = max(result.workers.items(), key=lambda pair: pair[1])
    if delivered >= ENOUGH * result.trained:
        return (
            f"compute-bound: the network takes {result.trained:.3g} clips/s, "
            f"{workers} workers deliver {delivered:.3g}; more workers will not help."
        )
    whole = sum(result.loading.values())
    stage = max(result.loading, key=lambda name: result.loading[name])
    gain = whole / (whole - result.loading[stage])
    helps = {
        "open": f"`twostream prepare` counts frames once (at most x{gain:.1f} loading)",
        "decode": f"decoded frames in memory (data.cache=ram) give at most x{gain:.1f} loading",
        "flow": f"a flow store (`twostream flow`, flow.store=PATH) gives at most x{gain:.1f} loading",
    }
    advice = helps.get(stage, "more cores for workers help")
    if workers < result.cores:
        advice += f"; {workers} workers are faster than more"
    return (
        f"loading-bound: the network would take {result.trained:.3g} clips/s, {workers} workers deliver "
        f"{delivered:.3g}. {stage.capitalize()} is {result.loading[stage] / whole:.0%} of loading; {advice}."
    )


def table(result: Bench) -> str:
    """Returns the result as text for a terminal."""
    size = f"in batches of {result.batch_size}" if result.batch_size else "by itself"
    lines = [f"{result.device}, {result.cores} cores; one clip, ms (loading on one core, training {size})"]
    for title, stages in (("loading", result.loading), ("training", result.training)):
        lines.append(f"{title:<10}" + "".join(f"{name:>11}" for name in (*stages, "whole")))
        values = (*stages.values(), sum(stages.values()))
        lines.append(f"{'':<10}" + "".join(f"{1e3 * value:>11.2f}" for value in values))
    lines.append("loader     " + ", ".join(f"{n} workers {rate:.1f} clips/s" for n, rate in result.workers.items()))
    if result.peak_share is not None and result.peak_memory is not None:
        lines.append(f"GPU        {result.peak_share:.0%} of peak arithmetic, {result.peak_memory / 2**30:.1f} GiB")
    if result.step is not None:
        lines.append(f"step       {1e3 * result.step:.2f} ms a clip as a run does it, callbacks and all")
    needed = result.cores_needed
    lines.append(f"feeding    {result.trained:.3g} clips/s take {counted(needed, 'core')} that load")
    return "\n".join([*lines, verdict(result)])


def save_chart(result: Bench, path: Path) -> None:
    """Draws the stages of a clip as bars, and clips/s against the number of workers, beside what the network takes."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    stages, rates = figure.subplots(1, 2)
    values = {**result.loading, **result.training}
    colours = ["C0"] * len(result.loading) + ["C1"] * len(result.training)
    stages.barh(list(values), [1e3 * value for value in values.values()], color=colours)
    stages.invert_yaxis()
    stages.set(xlabel="ms a clip", title="loading (blue, one core), training (orange)")
    rates.plot(list(result.workers), list(result.workers.values()), "o-", label="loader")
    rates.axhline(result.trained, color="C1", label="network")
    rates.xaxis.get_major_locator().set_params(integer=True)
    rates.set(xlabel="workers", ylabel="clips/s", ylim=(0, None), title="delivered and taken")
    rates.legend()
    figure.savefig(path, dpi=120)
