"""What storing flow and frames is worth, both sides of a ratio in one run: `python -m benchmarks.store VIDEO…`."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from twostream.data.dataset import ClipDataset
from twostream.data.decoding import iterate_frames, read_frames
from twostream.data.flow import DIS, TVL1, OpticalFlow, dequantise, pin_threads, quantise
from twostream.data.frames import Decoded, FrameSource
from twostream.data.sampling import Chunks
from twostream.data.sources import Video
from twostream.data.storage.flow_store import (
    ENCODINGS,
    FlowStore,
    FromVideo,
    StoreClip,
    clip_path,
    encode_field,
    make_store,
)
from twostream.data.storage.packed import Packed, pack_clip, packed_path
from twostream.data.tasks import run_tasks
from twostream.data.transform import Box, JitterCrop, crop_computed, crop_flow, crop_stored
from twostream.options.streams import Stream, rgb
from twostream.options.streams import flow as of_flow
from twostream.training.bench import LOADING, time_loading

FIELDS = 50  # the fields of a T=5, L=10 sample without overlap
FOLDER_QUALITY = 95  # OpenCV's default, and so the quality of tools that write folders


def bench_extraction(videos: Sequence[Video], folder: Path, *, tvl1_pairs: int) -> None:
    """Measures what it takes to decode, compute, encode and write flow.

    DIS is measured on whole videos, TV-L1 on the first pairs of each.
    """
    rates = {}
    for preset in ("ultrafast", "fast"):
        flow, root, started, pairs = DIS(preset=preset), folder / preset, time.perf_counter(), 0
        make_store(root, flow)
        task = StoreClip(root, FromVideo(flow, "pyav"))
        for video in videos:
            pairs += task(video).items
        rates[preset] = pairs / (time.perf_counter() - started)
        print(f"extraction into a store, flow=dis flow.preset={preset}: {rates[preset]:.1f} pairs/s of {pairs:,}")
    slow: OpticalFlow = TVL1()
    started = time.perf_counter()
    for video in videos:
        fields = slow.successive(islice(iterate_frames(video.path), tvl1_pairs + 1))
        for number, field in enumerate(fields):
            (folder / f"tvl1-{number}").write_bytes(encode_field(quantise(field, slow.bound), "jpeg"))
    rate = len(videos) * tvl1_pairs / (time.perf_counter() - started)
    print(
        f"flow=tvl1: {rate:.3f} pairs/s of {len(videos) * tvl1_pairs}; "
        + ", ".join(f"{preset} x{rates[preset] / rate:.0f}" for preset in rates)
    )


def bench_processes(videos: Sequence[Video], folder: Path, *, rounds: int) -> None:
    """Measures the same videos with one process and with two, in turns; the best counts, since other work disturbs."""
    flow = DIS()
    best = {1: 0.0, 2: 0.0}
    for number in range(rounds):
        for workers in best:
            root = folder / f"{workers}-{number}"
            make_store(root, flow)
            # a process counts from its first finished video on: starting it takes as long as some videos
            started, pairs = 0.0, 0
            for outcome in run_tasks(StoreClip(root, FromVideo(flow, "pyav")), videos, workers=workers):
                assert outcome.error is None, outcome.error
                pairs += outcome.value.items if started else 0
                started = started or time.perf_counter()
            rate = pairs / (time.perf_counter() - started)
            best[workers] = max(best[workers], rate)
            print(f"  {workers} processes: {rate:.1f} pairs/s, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"two processes: {best[2]:.1f} pairs/s, one: {best[1]:.1f}, x{best[2] / best[1]:.2f}")


def bench_reading(videos: Sequence[Video], folder: Path, *, repeats: int) -> None:
    """Reads a stack of 50 fields, int8 (50, 2, h, w), from a folder of JPEGs and from a store of each encoding."""
    flow = DIS()
    exact = folder / "png"
    make_store(exact, flow, encoding="png")
    chosen = [v for v in videos if StoreClip(exact, FromVideo(flow, "pyav"))(v).items >= FIELDS]
    pairs = [(i, i + 1) for i in range(FIELDS)]
    readers: dict[str, Callable[[Video], np.ndarray]] = {}
    sizes: dict[str, int] = {}
    for encoding in ENCODINGS:
        make_store(folder / encoding, flow, encoding=encoding)
        store = FlowStore(folder / encoding, flow)
        for video in chosen:
            StoreClip(folder / encoding, FromVideo(flow, "pyav"))(video)
        readers[encoding] = partial(store.levels, pairs=pairs)
        sizes[encoding] = sum(clip_path(folder / encoding, video).stat().st_size for video in chosen)
    whole = FlowStore(exact, flow)
    write = partial(write_folder, whole, folder)
    sizes["folder"] = sum(write(video) for video in chosen)
    readers["folder"] = partial(read_folder, folder)
    compare("folder", readers, sizes, chosen, repeats, truth=partial(whole.levels, pairs=pairs))


def bench_crops(videos: Sequence[Video], folder: Path, *, repeats: int) -> None:
    """Crops the 50 fields of a sample from a lossless store: as displacements and as levels, without reading them."""
    store, generator = FlowStore(folder / "png", DIS()), np.random.default_rng(0)
    cases = []
    for video in videos:
        if store.count(video) > FIELDS:
            levels = store.levels(video, [(i, i + 1) for i in range(FIELDS)])
            height, width = levels.shape[2:]
            cases += [(levels, box) for _ in range(2) for box in JitterCrop().random(height, width, generator)]

    def displacements(levels: np.ndarray) -> list[np.ndarray]:
        return [np.ascontiguousarray(dequantise(field, 20.0).transpose(1, 2, 0)) for field in levels]

    ways: dict[str, Callable[[np.ndarray, Box], Any]] = {
        "displacements, all at once": lambda levels, box: quantise(crop_flow(displacements(levels), box, 224), 20.0),
        "displacements, each": lambda levels, box: [crop_computed(f, box, 224, 20.0) for f in displacements(levels)],
        "levels": lambda levels, box: [crop_stored(field, box, 224) for field in levels],
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    off: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for levels, box in cases:
        for _ in range(repeats):
            for name, crop in ways.items():
                started = time.process_time()
                found = crop(levels, box)
                taken[name].append(time.process_time() - started)
                if name == "displacements, all at once":
                    reference = found
                off[name].append(np.abs(np.asarray(found).astype(np.int16) - reference).ravel()[::97])
    for name in ways:
        errors = np.concatenate(off[name])
        print(
            f"  {name:<28} {1e3 * np.mean(taken[name]):7.2f} ms, "
            f"x{np.mean(taken[name]) / np.mean(taken['displacements, all at once']):.2f}; "
            f"another level {np.mean(errors > 0):.2%}, by {errors.max()} at most",
            flush=True,
        )


def bench_samples(videos: Sequence[Video], folder: Path, packed: Path, *, repeats: int) -> None:
    """Prints where the time of a training sample (T=5, L=10, 224; 50 fields) goes, by what is stored: medians."""
    flow, store = DIS(), FlowStore(folder / "jpeg", DIS())
    videos = [video for video in videos if store.count(video) > FIELDS]
    both = (rgb(), of_flow(flow.length))
    samples: dict[str, tuple[FrameSource, FlowStore | None, tuple[Stream, ...]]] = {
        "RGB alone, decoded": (Decoded(), None, (rgb(),)),
        "both streams, decoded": (Decoded(), None, both),
        "both, decoded, flow store": (Decoded(), store, both),
        "RGB alone, packed": (Packed(packed), None, (rgb(),)),
        "both, packed": (Packed(packed), None, both),
        "both, packed, flow store": (Packed(packed), store, both),
    }
    datasets = {
        name: ClipDataset(
            videos,
            sampling=Chunks(5, stride=(10, 10)),
            transform=JitterCrop(size=224),
            flow=flow,
            frame_source=source,
            flow_store=flow_store,
            streams=streams,
            training=True,
        )
        for name, (source, flow_store, streams) in samples.items()
    }
    taken: dict[str, list[list[float]]] = {name: [] for name in datasets}
    for _ in range(repeats + 1):
        for name, dataset in datasets.items():  # in turns, so that other work of the machine disturbs all alike
            stages, _clips = time_loading(dataset, 60, most=len(videos))
            taken[name].append([1e3 * stages[stage] for stage in LOADING[1:]])
    print(f"  {'ms':<28}" + "".join(f"{stage:>11}" for stage in (*LOADING[1:], "whole")))
    for name, rounds in taken.items():
        values = np.median(rounds[1:], axis=0).tolist()  # the first round has counted the frames, too
        print(f"  {name:<28}" + "".join(f"{value:>11.1f}" for value in (*values, sum(values))), flush=True)


def write_folder(store: FlowStore, folder: Path, video: Video) -> int:
    """Writes a video's flow as other tools do: flow_x_00000.jpg, flow_y_00000.jpg, …

    Returns the number of bytes.
    """
    place = folder / "jpegs" / video.id
    place.mkdir(parents=True)
    for i in range(store.count(video) - 1):
        [field] = store.levels(video, [(i, i + 1)])
        for axis, plane in zip("xy", field, strict=True):
            grey = (plane.astype(np.int16) + 128).astype(np.uint8)
            cv2.imwrite(str(place / f"flow_{axis}_{i:05d}.jpg"), grey, [cv2.IMWRITE_JPEG_QUALITY, FOLDER_QUALITY])
    return sum(path.stat().st_size for path in place.iterdir())


def read_folder(folder: Path, video: Video) -> np.ndarray:
    """Returns the first 50 fields of a folder of JPEGs, as `FlowStore.levels` does."""
    place = str(folder / "jpegs" / video.id)
    planes = [cv2.imread(f"{place}/flow_{a}_{i:05d}.jpg", cv2.IMREAD_GRAYSCALE) for i in range(FIELDS) for a in "xy"]
    stacked = np.stack(planes)  # type: ignore[arg-type]
    levels = np.bitwise_xor(np.maximum(stacked, 1), 128).view(np.int8)
    return levels.reshape(FIELDS, 2, *stacked.shape[1:])


def bench_frames(videos: Sequence[Video], folder: Path, *, repeats: int) -> None:
    """Reads three frames spread over a video, packed and by decoding in sequence."""
    packed = Packed(folder)
    wanted = {v.id: [round(share * (packed.count(v) - 1)) for share in (0.25, 0.5, 0.75)] for v in videos}
    readers: dict[str, Callable[[Video], np.ndarray]] = {
        "decoded": lambda video: read_frames(video.path, wanted[video.id]),
        "packed": lambda video: packed.read(video, wanted[video.id]),
    }
    sizes = {
        "decoded": sum(video.path.stat().st_size for video in videos),
        "packed": sum(packed_path(folder, video.id).stat().st_size for video in videos),
    }
    compare("decoded", readers, sizes, videos, repeats)


def compare(
    base: str,
    readers: dict[str, Callable[[Video], np.ndarray]],
    sizes: dict[str, int],
    videos: Sequence[Video],
    repeats: int,
    truth: Callable[[Video], np.ndarray] | None = None,
) -> None:
    """Prints each reader's milliseconds (median over repeats, mean over videos) and bytes, and ratios to `base`."""
    times: dict[str, list[float]] = {name: [] for name in readers}
    for video in videos:
        taken: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(repeats):
            for name, read in readers.items():  # in turns, so that other work of the machine disturbs all alike
                started = time.perf_counter()
                read(video)
                taken[name].append(time.perf_counter() - started)
        for name in readers:
            times[name].append(median(taken[name]))
    for name, read in readers.items():
        line = (
            f"  {name:<8} {1e3 * np.mean(times[name]):7.2f} ms, x{np.mean(times[base]) / np.mean(times[name]):.2f} as "
            f"fast; {sizes[name] / 1e6:7.2f} MB, x{sizes[name] / sizes[base]:.2f} the size"
        )
        if truth is not None:
            errors = [np.abs(read(video).astype(int) - truth(video)) for video in videos]
            line += f"; {np.mean([error.mean() for error in errors]):.3f} grey levels off"
        print(line, flush=True)


def main() -> None:
    """Prints the ratios that docs/data.md states."""
    parser = argparse.ArgumentParser("python -m benchmarks.store", description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path, help="clips to measure on")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3, help="turns of one and two processes; 0: none")
    parser.add_argument("--tvl1-pairs", type=int, default=1, help="of each video; seconds each; 0: none")
    options = parser.parse_args()
    pin_threads()
    videos = [Video(id=f"{i}/{path.name}", path=path, label=0, group="") for i, path in enumerate(options.videos)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"reading a T=5, L=10 stack ({FIELDS} fields; folder: JPEGs of quality {FOLDER_QUALITY}, x and y apart)")
        bench_reading(videos, folder / "reading", repeats=options.repeats)
        for video in videos:
            pack_clip(video, folder / "packed")
        print(f"cropping {FIELDS} stored fields to 224")
        bench_crops(videos, folder / "reading", repeats=options.repeats)
        print(f"a training sample, T=5, L=10, 224: {FIELDS} fields")
        bench_samples(videos, folder / "reading", folder / "packed", repeats=options.repeats)
        print("three frames of a video")
        bench_frames(videos, folder / "packed", repeats=options.repeats)
        if options.tvl1_pairs:
            bench_extraction(videos[:3], folder, tvl1_pairs=options.tvl1_pairs)
        if options.rounds:
            bench_processes(videos, folder / "processes", rounds=options.rounds)


if __name__ == "__main__":
    main()
