"""Configuration -> videos, their frames and flow, loaders."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.config.bounds import EMBEDDED
from twostream.config.compose import streams_of
from twostream.config.loss import is_balanced
from twostream.config.older import mirrors
from twostream.config.paths import packed_frames
from twostream.config.protocol_views import sampling_of
from twostream.config.protocols import CROPS, check_protocol
from twostream.config.streams import check_columns, check_streams, columns_in, streams_in
from twostream.config.taught import as_seen, seen_streams, teacher_folder
from twostream.data.dataset import ClipDataset, Transform
from twostream.data.decoding import check_hands_out, require_vectors
from twostream.data.flow import OpticalFlow
from twostream.data.frames import MEMORY, Cached, Decoded, FrameSource, Guarded, Kept
from twostream.data.module import VideoDataModule
from twostream.data.record import Record, record_of
from twostream.data.sources import Video, hold_out
from twostream.data.sources.source import Rendered
from twostream.data.storage.flow_store import FlowStore, clip_path, read_manifest
from twostream.data.storage.index import find_index
from twostream.data.storage.packed import Packed, packed_path
from twostream.data.undecoded import UndecodedClips
from twostream.metrics.scores import PARTS
from twostream.runs.data_values import which_videos

DECODED = 150  # decoded frames are about so many times larger than the file
WITH_FIELDS = (3 + 8) / 3  # a frame has 3 bytes a pixel; its field to the next frame 8
CACHES = (None, "ram", "auto")  # auto: chosen for training, which reads each video many times; else null


def build_source(cfg: DictConfig) -> Any:
    """Builds the data set: its classes and its videos."""
    with without_collection():
        return instantiate(which_videos(cfg.data))(split=cfg.split)  # type: ignore[arg-type]


@contextmanager
def without_collection() -> Iterator[None]:
    """Stops garbage collection in the block: it would search 200,000 videos, none of them garbage, again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def build_frame_source(cfg: DictConfig, source: Any) -> FrameSource:
    """Returns the source of frames: decoded or packed, within a time limit, and kept in memory if asked for.

    Raises ValueError for an unknown cache.
    """
    frame_source: FrameSource = Decoded(cfg.decoder, counts=rendered(source) or find_index(cfg.data.root))
    if (folder := packed_frames(cfg)) is not None:
        frame_source = packed = Packed(folder)
        packed.require(source.videos)
        if on_gpu(cfg):
            return frame_source
    if cfg.decode_timeout is not None:
        frame_source = Guarded(frame_source, cfg.decode_timeout)
    if cfg.data.cache not in CACHES:
        raise ValueError(f"data.cache={cfg.data.cache!r}: choose from null, ram, auto")
    if cfg.data.cache != "ram":
        return frame_source
    return Cached(frame_source, Kept(), with_fields=fits(source, columns_in(cfg), fields=True))


def rendered(source: Any) -> Rendered | None:
    """Returns what is known of all videos of a data set, if it renders them; it may be of another class than ours."""
    return getattr(source, "rendered", None)


def fits(source: Any, columns: Collection[str], *, fields: bool = False, memory: Path = MEMORY) -> bool:
    """Whether the frames of all videos, and if wanted all `fields`, are likely to fit into half of the free memory.

    `columns`: of the videos' files that are shown, "" for the videos themselves.
    """
    if not memory.is_dir():
        return False
    free = shutil.disk_usage(memory).free / 2 / (WITH_FIELDS if fields else 1)
    if (made := rendered(source)) is not None:
        return len(source.videos) * made.num_frames * made.height * made.width * 3 <= free
    total = 0
    for video, column in product(source.videos, columns):
        path = video.files.get(column) if column else video.path
        total += DECODED * (path.stat().st_size if path is not None and path.is_file() else 0)
        if total > free:
            return False
    return True


def build_flow(cfg: DictConfig) -> OpticalFlow:
    """Returns the optical flow algorithm, whether or not there is a store."""
    return instantiate({key: value for key, value in cfg.flow.items() if key != "store"})


def build_store(cfg: DictConfig, flow: OpticalFlow, source: Any) -> FlowStore | None:
    """Returns the flow store, which must have all videos; None if flow is computed or not wanted."""
    store = open_store(cfg, flow)
    if store is not None:
        store.require(source.videos)
    return store


def open_store(cfg: DictConfig, flow: OpticalFlow) -> FlowStore | None:
    """Returns the flow store, whatever videos it has; None if flow is computed or not wanted."""
    return FlowStore(cfg.flow.store, flow) if cfg.flow.store and "flow" in streams_of(cfg) else None


def check_parts(cfg: DictConfig) -> None:
    """Builds what needs no video, so that errors come before the data set is searched or rendered."""
    check_streams(cfg)
    check_decode(cfg)
    flow = build_flow(cfg)
    open_store(cfg, flow)
    if reads_vectors(cfg, flow):
        check_frames(cfg)
    for part in (cfg.sampling, cfg.transform):
        instantiate(part)


def reads_vectors(cfg: DictConfig, flow: OpticalFlow) -> bool:
    """Whether fields are read from the video files: not computed, and not from a store."""
    return flow.from_video and not cfg.flow.store and "flow" in streams_of(cfg)


def check_frames(cfg: DictConfig) -> None:
    """Raises ValueError if the frames, as the configuration reads them, come without motion vectors."""
    if cfg.data["_target_"] == EMBEDDED:
        raise ValueError(
            "flow=motion_vectors: the embedded videos are key frames alone; choose flow=dis, or other data"
        )
    check_hands_out(cfg.decoder)
    if (folder := packed_frames(cfg)) is not None:
        raise ValueError(
            f"flow=motion_vectors: packed frames ({folder}) have none; choose data.frames=video, or flow.store=PATH, "
            "made by `twostream flow` of the videos"
        )


def on_gpu(cfg: DictConfig) -> bool:
    """Whether pictures are decoded on the GPU."""
    return cfg.data.get("decode") == "gpu"


def clips_class(cfg: DictConfig) -> type[ClipDataset]:
    """Returns which data set makes the clips of a run."""
    return UndecodedClips if on_gpu(cfg) else ClipDataset


def check_decode(cfg: DictConfig) -> None:
    """Raises ValueError if `data.decode=gpu` and there is no GPU, or something that a clip shows is no JPEG."""
    if not on_gpu(cfg):
        return
    streams = streams_in(cfg)
    wrong = ""
    if cfg.trainer.get("accelerator") == "cpu" or not torch.cuda.is_available():
        wrong = "there is no GPU here, or trainer.accelerator=cpu"
    elif any(stream.made != "flow" for stream in streams) and packed_frames(cfg) is None:
        wrong = "frames are no JPEGs; pack them (`twostream prepare … --pack`) and give data.frames=packed"
    elif any(stream.made == "flow" for stream in streams) and not cfg.flow.store:
        wrong = "flow is computed; write it into a store (`twostream flow`) and give flow.store=PATH"
    elif any(stream.made == "flow" for stream in streams) and not holds_jpegs(cfg):
        wrong = f"flow.store={cfg.flow.store} holds no JPEGs of whole pixels"
    elif cfg.data.cache == "ram":
        wrong = "data.cache=ram keeps decoded frames; choose data.cache=null"
    elif any(value for name, value in cfg.transform.colour.items() if name != "_target_"):
        wrong = "transform.colour changes decoded frames; leave it at 0"
    elif cfg.get("broken") == "skip":
        wrong = "workers cannot leave out what is decoded behind them; choose broken=error"
    if wrong:
        raise ValueError(f"data.decode=gpu: {wrong}; or choose data.decode=cpu")


def holds_jpegs(cfg: DictConfig) -> bool:
    """Whether the fields of the flow store are JPEGs that have a level for each pixel."""
    return read_manifest(Path(cfg.flow.store).expanduser())["encoding"] == "jpeg" and build_flow(cfg).cell == 1


def check_vectors(cfg: DictConfig, source: Any) -> None:
    """Raises an error if frames come without motion vectors, or some videos have none: looks at one of each list.

    With broken=skip, videos without vectors are left out while training.
    """
    check_frames(cfg)
    for videos in (source.train, source.test):
        if videos and cfg.broken == "error" and videos[0].path.is_file():
            require_vectors(videos[0].path)


def clip_parts(cfg: DictConfig, source: Any, frame_source: FrameSource | None = None) -> dict[str, Any]:
    """Returns the arguments that all data sets of a run share; `frame_source`: one that is open already, if any."""
    check_columns(cfg, source)
    flow = build_flow(cfg)
    if reads_vectors(cfg, flow):
        check_vectors(cfg, source)
    frame_source = build_frame_source(cfg, source) if frame_source is None else frame_source
    return {
        "sampling": instantiate(cfg.sampling),
        "transform": build_transform(cfg),
        "flow": flow,
        "flow_store": build_store(cfg, flow, source),
        "frame_source": frame_source,
        "kept": frame_source.kept if isinstance(frame_source, Cached) and frame_source.with_fields else None,
        "broken": cfg.broken,
        "streams": streams_in(cfg),
        "seed": cfg.seed,
        "num_classes": len(source.classes),
    }


def build_transform(cfg: DictConfig, **changes: Any) -> Transform:
    """Returns the crops of the configuration, with `changes` for a test; mirrors nothing unless `data.mirror`."""
    options = {**cfg.transform, **changes}
    if not mirrors(cfg):
        changes |= {"flip": 0.0, "test_flip": False, "test": "five" if options["test"] == "ten" else options["test"]}
    return instantiate(cfg.transform, **changes)


def mirror_note(cfg: DictConfig, **changes: Any) -> str:
    """Returns a line if the crops, with the `changes` of a protocol, mirror although the data forbid it; or ""."""
    options = {**cfg.transform, **changes}
    asked = [name for name in ("flip", "test_flip") if options[name]] + ["test=ten"] * (options["test"] == "ten")
    if mirrors(cfg) or not asked:
        return ""
    return f"data.mirror=false: left and right matter in these data; nothing is mirrored ({', '.join(asked)} ignored)"


def unsafe_mirror(trained: DictConfig, cfg: DictConfig) -> str:
    """Returns a line if `cfg` mirrors data that the run `trained` was not allowed to mirror; or ""."""
    if not mirrors(cfg) or mirrors(trained):
        return ""
    return "NOTE: data.mirror=true, where the run has data.mirror=false: a mirrored view may show another class"


def build_views(cfg: DictConfig, source: Any, *, part: str, protocol: str, frame_by_frame: bool) -> ClipDataset:
    """Returns the test or validation videos of a run in the views of a protocol (see `twostream.config.protocols`).

    Raises ValueError if the run has no validation videos.
    """
    if part not in PARTS:
        raise ValueError(f"part={part!r}: choose from {', '.join(PARTS)}")
    videos = build_lists(cfg, source)[part]
    if not videos:
        why = "refit=true: in the end all trained" if cfg.get("refit") is True else "validation_fraction=0"
        raise ValueError(f"part='validation': the run held no videos out of training ({why})")
    check_protocol(protocol)
    parts = clip_parts(cfg, source)
    parts["sampling"] = sampling_of(protocol, parts["sampling"], frame_by_frame=frame_by_frame)
    parts["transform"] = build_transform(cfg, **CROPS[protocol])
    return ClipDataset(videos, **parts)  # decoded by its workers, also after training with data.decode=gpu


def build_data(cfg: DictConfig, source: Any, frame_source: FrameSource | None = None) -> VideoDataModule:
    """Returns the loaders for training, validation and testing. Raises ValueError if there is only one class."""
    if len(source.classes) < 2:
        raise ValueError(
            f"{source.name} split {source.split}: one class, {source.classes[0]}, and nothing to tell it from; two "
            "are needed at least: folders of videos, labels of data.csv, or names in data.classes"
        )
    seen = as_seen(cfg)
    check_workers(seen)
    lists = build_lists(cfg, source)
    shared = clip_parts(cfg, source, frame_source)
    trained = training_parts(cfg, source, shared)
    clips = clips_class(cfg)
    one_view = {  # cheap, since every epoch validates; only the test has its protocol
        "sampling": instantiate(cfg.sampling, test_views=1),
        "transform": build_transform(cfg, test="centre", test_flip=False),
    }
    return VideoDataModule(
        train=clips(lists["train"], training=True, **trained),
        validation=clips(lists["validation"], **{**shared, **one_view}),
        test=clips(lists["test"], **shared),
        batch_size=cfg.batch_size,
        test_batch_size=cfg.test_batch_size,
        num_workers=cfg.num_workers,
        prefetch_factor=cfg.prefetch,
        persistent_workers=cfg.persistent_workers,
        pin_memory=cfg.pin_memory and torch.cuda.is_available() and cfg.trainer.accelerator != "cpu",
        balanced=is_balanced(cfg),
        seed=cfg.seed,
        record=build_record(seen, source, lists, trained["flow_store"]),
    )


def training_parts(cfg: DictConfig, source: Any, shared: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of the data set that trains: `shared`, with the streams of a teacher (`distill.from`).

    The network's own stream stays the first, so that it sees what it sees without a teacher.
    """
    if teacher_folder(cfg) is None:
        return shared
    seen = as_seen(cfg)
    streams = {stream.name: stream for stream in streams_in(seen)}
    ordered = [streams[name] for name in seen_streams(cfg)]
    return {**clip_parts(seen, source, shared["frame_source"]), "streams": ordered}


def check_workers(cfg: DictConfig) -> None:
    """Raises ValueError if loader workers would compute flow on a GPU, which a forked process cannot use."""
    if cfg.flow.store is not None or not cfg.num_workers or "flow" not in streams_of(cfg):
        return
    if (flow := build_flow(cfg)).on_gpu:
        raise ValueError(
            f"flow={type(flow).__name__.lower()}: workers cannot use the GPU beside training; compute the fields "
            "first, by `twostream flow` with the same options, and give flow.store=PATH; or choose an algorithm for "
            "the CPU (flow=dis), or num_workers=0"
        )


def build_lists(cfg: DictConfig, source: Any) -> dict[str, Sequence[Video]]:
    """Returns which videos train, validate and test.

    If the data set names no validation videos, holds out whole groups of the training list. With refit=true, all videos
    that would validate train, too.
    """
    train, validation = source.train, source.validation  # as the data set divides them
    if cfg.get("refit") is True:  # validation has chosen the number of epochs already
        train, validation = (*train, *validation), ()
    elif not validation:
        train, validation = hold_out(source.train, cfg.validation_fraction, cfg.seed)
    return {"train": train, "validation": validation, "test": source.test}


def build_record(
    cfg: DictConfig, source: Any, lists: Mapping[str, Sequence[Video]], store: FlowStore | None = None
) -> Record:
    """Returns what a resumed run compares its data by: the lists, the files, and what was computed from them before."""
    frames = packed_frames(cfg)
    return record_of(
        source.classes,
        lists,
        index=find_index(cfg.data.root),
        columns=[stream.column for stream in streams_in(cfg) if stream.column],
        flow="" if store is None else store.identity(),
        flow_path=None if store is None else partial(clip_path, store.root),
        packed_path=None if frames is None else lambda video: packed_path(frames, video.id),
    )
