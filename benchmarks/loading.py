"""Where the time of a sample goes, on one core, side by side in one run: `python -m benchmarks.loading VIDEO…`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial, reduce
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from twostream.data.clip import Clip
from twostream.data.dataset import ClipDataset
from twostream.data.decoding import DECODERS, check_decoder, count_frames, read_frames
from twostream.data.flow import DIS, TVL1, Farneback, OpticalFlow, pin_threads
from twostream.data.frames import Decoded
from twostream.data.sampling import Chunks, Segments
from twostream.data.sources import Video
from twostream.data.transform import JitterCrop, MultiScaleCrop, crop_computed
from twostream.options.streams import rgb


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Returns the median time of a call; the first call, which fills caches, does not count."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def bench_decoding(paths: list[Path], *, repeats: int) -> None:
    """Measures the processor time of 8 frames spread over each video: our decoders, bare libraries, mmaction2.

    A frame is wrong if it differs by more than a grey level on average from that of bare PyAV in sequence. mmaction2 is
    measured where it can be imported, its transforms and ours with the network's input (224) as the result.
    """
    samples = ClipDataset(
        [Video(id=str(path), path=path, label=0, group="") for path in paths],
        sampling=Segments(8),
        transform=MultiScaleCrop(size=224),
        flow=DIS(),
        frame_source=Decoded(),
        streams=(rgb(),),
    )
    times: dict[str, list[float]] = {}
    wrong: dict[str, int] = {}
    for number, path in enumerate(paths):
        spread = ((np.arange(8) + 0.5) * samples.num_frames(number) / 8).astype(int)
        sides = decoding_sides(path, spread, lambda i=number: samples[0, i])
        truth = sides["bare PyAV"]().astype(int)
        for name, work in sides.items():
            frames = work()
            if isinstance(frames, np.ndarray):
                off = np.abs(frames - truth).mean((1, 2, 3)) > 1
                wrong[name] = wrong.get(name, 0) + int(off.sum())
        rounds = [{name: processor_seconds(work) for name, work in sides.items()} for _ in range(repeats)]
        for name in sides:
            times.setdefault(name, []).append(median(each[name] for each in rounds))
    means = {name: 1e3 * sum(each) / len(paths) for name, each in times.items()}
    print(f"{'8 frames, spread':<24}{'CPU ms':>8}{'of bare PyAV':>14}{'wrong':>7}")
    for name, mean in means.items():
        print(f"{name:<24}{mean:>8.1f}{mean / means['bare PyAV']:>14.2f}{wrong.get(name, ''):>7}")
    cheapest = min(means[name] for name in ("bare PyAV", "bare OpenCV", "bare decord"))
    print(f"decoder=auto: x{means['decoder=auto'] / cheapest:.2f} of the cheapest bare decoding in sequence", end="")
    if "mmaction2 to 224" in means:
        print(f"; our sample: x{means['our sample to 224'] / means['mmaction2 to 224']:.2f} of mmaction2's", end="")
    print()


def decoding_sides(path: Path, indices: np.ndarray, sample: Callable[[], object]) -> dict[str, Callable[[], Any]]:
    """Returns what is compared: functions that give the frames at `indices` (n, h, w, 3), or a sample."""
    import cv2
    import decord

    def bare_pyav() -> np.ndarray:
        with av.open(str(path), metadata_errors="ignore") as container:
            container.streams.video[0].codec_context.thread_count = 1
            pictures = zip(range(indices[-1] + 1), container.decode(video=0), strict=False)
            return np.stack([picture.to_ndarray(format="rgb24") for i, picture in pictures if i in indices])

    def bare_opencv() -> np.ndarray:
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        grabbed = (i for i in range(indices[-1] + 1) if video.grab())
        return np.stack([cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB) for i in grabbed if i in indices])

    def bare_decord() -> np.ndarray:
        video = decord.VideoReader(str(path), num_threads=1)
        pictures = ((i, video.next()) for i in range(indices[-1] + 1))
        return np.stack([picture.asnumpy() for i, picture in pictures if i in indices])

    def random_access() -> np.ndarray:
        return decord.VideoReader(BytesIO(path.read_bytes()), num_threads=1).get_batch(indices).asnumpy()

    sides: dict[str, Callable[[], Any]] = {
        f"decoder={name}": partial(read_frames, path, indices, decoder=name) for name in DECODERS if is_installed(name)
    }
    sides |= {"bare PyAV": bare_pyav, "bare OpenCV": bare_opencv, "bare decord": bare_decord}
    sides |= {"decord, random access": random_access, "our sample to 224": sample}
    with suppress(ImportError):
        import mmaction.datasets.transforms as mm  # pyright: ignore[reportMissingImports]

        steps = [mm.DecordInit(), mm.SampleFrames(clip_len=1, frame_interval=1, num_clips=8), mm.DecordDecode()]
        steps += [mm.Resize(scale=(-1, 256)), mm.MultiScaleCrop(input_size=224, scales=(1, 0.875, 0.75, 0.66))]
        steps += [mm.Resize(scale=(224, 224), keep_ratio=False), mm.Flip(), mm.FormatShape("NCHW")]
        begin = {"filename": str(path), "start_index": 0, "modality": "RGB", "label": 0}
        sides["mmaction2 to 224"] = lambda: reduce(lambda results, step: step(results), steps, dict(begin))["label"]
    return sides


def is_installed(decoder: str) -> bool:
    try:
        check_decoder(decoder)
    except ImportError:
        return False
    return True


def processor_seconds(work: Callable[[], object]) -> float:
    """Returns the processor time of a call in all threads of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


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
        streams=(rgb(),),
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
        first=torch.randint(0, 256, (*shape, 3, 64, 64), generator=generator, dtype=torch.uint8),
        second=torch.randint(-127, 128, (*shape, 10, 64, 64), generator=generator, dtype=torch.int8),
        label=torch.randint(0, 16, (32,), generator=generator),
        index=torch.arange(32),
    )

    def plain() -> float:
        torch.manual_seed(0)
        network = build_network(cfg, 16)
        optimizer = adamw(network, learning_rate=1e-3, weight_decay=0.01)
        started = time.perf_counter()
        for _ in range(100):
            [scores] = network(clip.first.flatten(0, 1), clip.second.flatten(0, 1))
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
    """Prints the ratios that docs/data.md states."""
    parser = argparse.ArgumentParser("python -m benchmarks.loading", description=__doc__)
    parser.add_argument("videos", nargs="*", type=Path, help="clips to measure loading on; none: the step alone")
    parser.add_argument("--decoding", action="store_true", help="measure decoders alone, and beside mmaction2")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    pin_threads()
    if options.decoding:
        return bench_decoding(options.videos, repeats=options.repeats)
    if options.videos:
        bench_loading(options.videos, repeats=options.repeats)
    bench_step(repeats=options.repeats)


if __name__ == "__main__":
    main()
