"""Where the time of a sample goes, on one core, side by side in one run: `python -m benchmarks.loading VIDEO…`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset
from twostream.data.decoding import count_frames, read_frames
from twostream.data.flow import DIS, TVL1, Farneback, OpticalFlow, pin_threads
from twostream.data.frames import Decoded
from twostream.data.sampling import Chunks
from twostream.data.sources import Video
from twostream.data.transform import JitterCrop, crop_computed


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Returns the median time of a call; the first call, which fills caches, does not count."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def bench_loading(paths: list[Path], *, repeats: int) -> None:
    """Measures two-stream samples (T=5, L=10, 224) by stage and flow algorithm.

    It also measures RGB-only loading against bare decoding.
    """
    transform = JitterCrop(size=224)
    sampling = Chunks(5, stride=(5, 5))
    totals: dict[str, float] = {}
    print(f"{'one sample, ms':<14}{'decode':>9}{'flow':>10}{'transform':>11}{'whole':>10}{'per pair':>10}")
    algorithms: list[OpticalFlow] = [DIS(preset="ultrafast"), DIS(preset="fast"), DIS(preset="medium")]
    for flow in [*algorithms, Farneback(), TVL1()]:
        rows = []
        for path in paths:
            count = count_frames(path)
            [starts] = sampling.fixed(count, 10)
            pairs = sorted({(s + k, s + k + 1) for s in starts.tolist() for k in range(10)})
            needed = sorted({i for pair in pairs for i in pair})
            decode = seconds(lambda p=path, n=needed: read_frames(p, n), repeats)
            frames = dict(zip(needed, read_frames(path, needed), strict=True))
            slow = isinstance(flow, TVL1)
            timed = pairs[:: max(1, len(pairs) // 3)] if slow else pairs  # its cost is proportional to its pairs
            once = seconds(lambda f=flow, x=frames, p=timed: f.fields(x, p), 1 if slow else repeats)
            computing = once * len(pairs) / len(timed)
            field = next(iter(DIS(preset="ultrafast").fields(frames, pairs[:1]).values()))
            [box] = transform.fixed(240, 320)[:1]
            fields = [field] * len(pairs)
            cropping = seconds(lambda x=fields, b=box: [crop_computed(f, b, 224, 20.0) for f in x], repeats)
            rows.append((decode, computing, cropping, computing / len(pairs)))
        decode, computing, cropping, pair = np.median(rows, axis=0).tolist()
        name = f"{type(flow).__name__} {getattr(flow, 'preset', '')}".strip()
        totals[name] = decode + computing + cropping
        print(f"{name:<14}" + "".join(f"{1e3 * x:>10.1f}" for x in (decode, computing, cropping, totals[name], pair)))
    print(f"a two-stream sample with TVL1 costs x{totals['TVL1'] / totals['DIS fast']:.0f} one with DIS fast")

    videos = [Video(id=path.name, path=path, label=0, group=path.name) for path in paths]
    dataset = ClipDataset(
        videos,
        sampling=Chunks(8, stride=(5, 5)),
        transform=transform,
        flow=DIS(),
        frame_source=Decoded(),
        streams=("rgb",),
    )
    loading, bare = [], []
    for index, path in enumerate(paths):
        count = dataset.num_frames(index)
        last = int(Chunks(8, stride=(5, 5)).fixed(count, 10).max()) + 5
        loading.append(seconds(lambda i=index: dataset[(0, i)], repeats))
        bare.append(seconds(lambda p=path, n=last: bare_decoding(p, n), repeats))
    ratio = sum(loading) / sum(bare)
    print(f"RGB only, T=8: {1e3 * np.mean(loading):.1f} ms a sample, x{ratio:.2f} of decoding up to the last frame")


def bare_decoding(path: Path, last: int) -> None:
    """Decodes from the first frame to the last that is needed, which no loader can avoid."""
    read_frames(path, [last])


def bench_step(*, repeats: int) -> None:
    """Measures one optimizer step in Lightning against the same step in a plain PyTorch loop.

    Both have the same network and the same batch.
    """
    import pytorch_lightning as pl

    from twostream.config.compose import compose_config
    from twostream.config.network import build_network
    from twostream.config.run import quieten
    from twostream.training.optimizers import adamw, constant
    from twostream.training.system import TwoStreamSystem

    quieten()
    cfg = compose_config([])
    generator = torch.Generator().manual_seed(0)
    shape = (32, 1, 1)
    clip = Clip(
        rgb=torch.randint(0, 256, (*shape, 3, 64, 64), generator=generator, dtype=torch.uint8),
        flow=torch.randint(-127, 128, (*shape, 10, 64, 64), generator=generator, dtype=torch.int8),
        label=torch.randint(0, 16, (32,), generator=generator),
        index=torch.arange(32),
    )

    def plain() -> float:
        torch.manual_seed(0)
        network = build_network(cfg, 16)
        optimizer = adamw(network, learning_rate=1e-3, weight_decay=0.01)
        started = time.perf_counter()
        for _ in range(100):
            [scores] = network(clip.rgb.flatten(0, 1), clip.flow.flatten(0, 1))
            loss = F.cross_entropy(scores, clip.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started

    def lightning() -> float:
        torch.manual_seed(0)
        system = TwoStreamSystem(
            build_network(cfg, 16),
            classes=tuple(map(str, range(16))),
            optimizer=lambda network: adamw(network, learning_rate=1e-3, weight_decay=0.01),
            schedule=constant,
        )
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        steps = Stopwatch()
        trainer.callbacks.append(steps)  # type: ignore[attr-defined]
        trainer.fit(system, DataLoader([clip] * 100, batch_size=None))  # type: ignore[arg-type]
        return steps.seconds

    class Stopwatch(pl.Callback):
        seconds = 0.0

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.started = time.perf_counter()

        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.seconds = time.perf_counter() - self.started

    pairs = [(lightning(), plain()) for _ in range(max(2, repeats))]
    ours, bare = (median(times) for times in zip(*pairs, strict=True))
    print(f"100 steps of 32 clips: Lightning {ours:.2f} s, plain PyTorch {bare:.2f} s, x{ours / bare:.3f}")


def main() -> None:
    """Prints the ratios that the README states."""
    parser = argparse.ArgumentParser("python -m benchmarks.loading", description=__doc__)
    parser.add_argument("videos", nargs="*", type=Path, help="clips to measure loading on; none: the step alone")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    pin_threads()
    if options.videos:
        bench_loading(options.videos, repeats=options.repeats)
    bench_step(repeats=options.repeats)


if __name__ == "__main__":
    main()
