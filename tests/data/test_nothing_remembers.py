"""What is computed does not depend on what was computed before, or is being computed beside it.

A shuffled mix of sizes, videos and options goes through kept objects in this process; every output has to be, to the
last bit, what a new object makes of it in a process that has seen no other video.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import pytest
import torch
from flow_stores import store_clip

from twostream.data.dataset import ClipDataset
from twostream.data.decoding import DECODERS, check_decoder, count_frames, iterate_frames, read_frames
from twostream.data.flow import DIS, RAFT, TVL1, Farneback, OpticalFlow
from twostream.data.frames import Cached, Decoded, Guarded, Kept
from twostream.data.sampling import Chunks, Segments
from twostream.data.sources import Video
from twostream.data.storage.flow_store import FlowStore, make_store
from twostream.data.storage.packed import Packed, pack_clip
from twostream.data.transform import CentreCrop, JitterCrop, MultiScaleCrop

# height, width; DIS of OpenCV by itself changes for ever below 91 pixels, and TV-L1 below 40
SIZES = ((240, 320), (32, 30), (64, 64), (20, 100), (96, 100))
NUM_FRAMES = 7
FLOWS: dict[str, OpticalFlow] = {
    **{preset: DIS(preset=preset) for preset in ("ultrafast", "fast", "medium")},
    "small": DIS(short_side=60),
    "smallest": DIS(preset="medium", short_side=16),
    "farneback": Farneback(short_side=40),
    "tvl1": TVL1(short_side=40, warps=1, outer_iterations=2),
    "raft": RAFT(weights="random", iterations=1, batch_size=2, device="cpu", short_side=32),
}
CLIPS = {
    "training": {"training": True, "sampling": Chunks(2, stride=(1, 2)), "transform": JitterCrop(size=24)},
    "multi-scale": {"training": True, "sampling": Segments(2), "transform": MultiScaleCrop(size=24)},
    "testing": {"sampling": Segments(2, test_views=2), "transform": CentreCrop(size=24)},
}


class Task(NamedTuple):
    """One output: `kind` of thing that may remember, its `option`, and the video that it is asked for."""

    kind: str
    option: str
    video: int


class Place(NamedTuple):
    videos: tuple[Video, ...]
    folder: Path  # with a flow store and packed frames


def make(kind: str, option: str, place: Place) -> Any:
    """A new object of what training, prediction and `twostream flow` keep."""
    if kind == "flow":
        return FLOWS[option].__class__(**arguments(FLOWS[option]))
    if kind == "clips":
        flow = DIS(length=2, short_side=40)
        return ClipDataset(place.videos, flow=flow, frame_source=Guarded(Decoded(), 60), **CLIPS[option])
    if kind == "store":
        return FlowStore(place.folder / "store", DIS())
    if kind == "packed":
        return Packed(place.folder / "packed")
    if kind == "cached":
        return Cached(Decoded(), Kept(place.folder))
    if kind == "fields":
        return Kept(place.folder)
    return None


def arguments(flow: OpticalFlow) -> dict[str, Any]:
    return {name: value for name, value in vars(flow).items() if not name.startswith("_")}


def arrays(task: Task, user: Any, place: Place) -> list[Any]:
    """The output of a task as arrays and numbers."""
    video, wanted = place.videos[task.video], [5, 0, 3]
    if task.kind == "flow":
        frames = dict(enumerate(read_frames(video.path, [0, 1, 2], decoder="pyav")))
        return [*user.fields(frames, [(0, 1), (0, 2)]).values(), *user.successive(frames.values())]
    if task.kind == "fields":
        frames = dict(enumerate(read_frames(video.path, [0, 1, 2], decoder="pyav")))
        return [*user.fields(video, [(0, 1), (0, 2)], partial(DIS().fields, frames)).values()]
    if task.kind == "clips":
        return [part.numpy() for key in ((0, task.video), (1, task.video)) for part in user[key]]
    if task.kind == "store":
        return [*user.levels(video, [(4, 5), (0, 1)]), user.count(video)]
    if task.kind == "decode":
        every = [frame.copy() for frame in iterate_frames(video.path, decoder=task.option)]
        return [*every, read_frames(video.path, wanted, decoder=task.option), count_frames(video.path)]
    return [user.read(video, wanted), user.count(video)]  # frame_source


def output(task: Task, place: Place, kept: dict[tuple[str, str], Any] | None = None) -> str:
    """The hash of a task's output, by what is kept or else by a new object."""
    user = kept[task[:2]] if kept is not None else make(task.kind, task.option, place)
    digest = hashlib.sha256()
    for part in map(np.asarray, arrays(task, user, place)):
        digest.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())
    return digest.hexdigest()


def installed() -> Iterator[str]:
    for decoder in DECODERS:
        try:
            check_decoder(decoder)
        except (ImportError, OSError, RuntimeError):
            continue
        yield decoder


def all_tasks() -> list[Task]:
    kinds = {"flow": [*FLOWS], "clips": [*CLIPS], "decode": [*installed()], "store": [""], "packed": [""]}
    kinds["cached"] = kinds["fields"] = [""]
    return [
        Task(kind, option, video)
        for kind, options in kinds.items()
        for option in options
        for video in range(2 if option == "raft" else len(SIZES))
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Videos of every size in which noise drifts, their flow in a store, and their frames packed."""
    folder = tmp_path_factory.mktemp("mixed")
    videos = []
    for index, (height, width) in enumerate(SIZES):
        path = folder / f"{index}.mp4"
        noise = np.random.default_rng(index).integers(0, 256, (height // 4 + 9, width // 4 + 9), dtype=np.uint8)
        still = cv2.resize(noise, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for step in range(NUM_FRAMES):
                moved = np.ascontiguousarray(still[step : step + height, 2 * step : 2 * step + width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="gray")))
            container.mux(stream.encode())
        videos.append(Video(id=f"a/{path.name}", path=path, label=0, group=path.name))
    make_store(folder / "store", DIS())
    for video in videos:
        store_clip(folder / "store", video, DIS())
        pack_clip(video, folder / "packed")
    return Place(tuple(videos), folder)


@pytest.fixture(scope="module")
def alone(place: Place) -> dict[Task, str]:
    """Each task's output by a new object, in a process for each video."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no cheap new processes")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(in_new_processes, place).result(timeout=280)


def in_new_processes(place: Place) -> dict[Task, str]:
    """Forks for each video; to be called in a process that has imported things, and done nothing else."""
    context, found = multiprocessing.get_context("fork"), {}
    for video in range(len(place.videos)):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=lambda to=theirs, video=video: to.send(of_video(video, place)))
        process.start()
        theirs.close()  # so that nothing more comes, an EOFError, where it fails
        found |= ours.recv()
        process.join()
    return found


def of_video(video: int, place: Place) -> dict[Task, str]:
    return {task: output(task, place) for task in all_tasks() if task.video == video}


@pytest.fixture
def threads() -> Iterator[None]:
    """What a test sets is set back."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def keep(place: Place) -> dict[tuple[str, str], Any]:
    return {task[:2]: make(task.kind, task.option, place) for task in all_tasks() if task.video == 0}


@pytest.mark.long
@pytest.mark.usefixtures("threads")
def test_a_mix_in_one_process_is_what_new_objects_in_new_processes_make(place: Place, alone: dict[Task, str]) -> None:
    kept, order = keep(place), random.Random(0)
    tasks = all_tasks()  # each object sees every size in another order
    order.shuffle(tasks)
    for task in tasks:
        cv2.setNumThreads(order.choice([0, 1, 3]))
        torch.set_num_threads(order.choice([1, 2]))
        torch.manual_seed(order.randrange(99))
        np.random.seed(order.randrange(99))
        assert output(task, place, kept) == alone[task], task


def test_the_same_objects_serve_several_threads_at_once(place: Place, alone: dict[Task, str]) -> None:
    kept, tasks = keep(place), all_tasks()
    random.Random(2).shuffle(tasks)
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(tasks, pool.map(lambda task: output(task, place, kept), tasks), strict=True))
    assert [task for task in tasks if found[task] != alone[task]] == []


@pytest.mark.parametrize("kind", ["packed", "store"])
def test_another_file_of_the_same_name_is_looked_at(kind: str, place: Place) -> None:
    first, second = place.videos[:2]
    user = make(kind, "", place)
    assert user.count(first) == NUM_FRAMES
    with pytest.raises(Exception, match=f"{second.path} has .* bytes, and .* when this was computed"):
        user.count(Video(id=first.id, path=second.path, label=0, group="x"))
