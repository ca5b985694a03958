"""What is read of other people: how a good one is made, and how it is read."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import paths  # noqa: F401
from mutations import mutate_bytes, mutate_json, mutate_values, mutate_yaml

CLASSES = ("run", "jump")
GROUPS = ("g01", "g02", "g08", "g09")


class Kind(NamedTuple):
    """`make` leaves a good input in a folder; `files` in it are mutated; `read` returns, or raises a clear error."""

    name: str
    make: Callable[[Path], None]
    files: Sequence[str]
    read: Callable[[Path], Any]
    limit: float = 10.0  # seconds for one input
    in_process: bool = True  # False: native code, which may take the interpreter along
    each: Callable[[Path], Any] | None = None  # reads the one file that was mutated, if that is enough


def mutate(kind: Kind, folder: Path, good: dict[str, bytes], random: Random) -> tuple[str, bytes]:
    """One file of a good input, made wrong."""
    name = random.choice(kind.files)
    data, suffix = good[name], Path(name).suffix
    if suffix in (".flow", ".frames") and random.random() < 0.6:
        return name, _mutate_container(data, folder / "aside", random)
    if suffix == ".json" and random.random() < 0.7:
        return name, mutate_json(data, random)
    if suffix == ".yaml" and random.random() < 0.7:
        return name, mutate_yaml(data, random)
    if suffix == ".npz" and random.random() < 0.5:
        return name, _mutate_npz(data, random)
    if suffix == ".ckpt" and random.random() < 0.5:
        return name, _mutate_checkpoint(data, random)
    if suffix == ".sqlite" and random.random() < 0.5:
        return name, _mutate_index(data, folder / "aside", random)
    return name, mutate_bytes(data, random)


def _mutate_container(data: bytes, path: Path, random: Random) -> bytes:
    """With checksums that are right."""
    from twostream.data.storage.container import Container, write_container

    path.write_bytes(data)
    container = Container(path)
    blobs, header = [container[i] for i in range(len(container))], container.header
    if random.random() < 0.5:
        header = mutate_values(header, random)
    else:
        blobs[0] = mutate_bytes(blobs[0], random)
    write_container(path, blobs, header=lambda: header)
    return path.read_bytes()


def _mutate_npz(data: bytes, random: Random) -> bytes:
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    name = random.choice(list(arrays))
    others = [np.zeros(0), np.zeros((2, 3)), np.array("x" * 40), np.array([-1, 2**40]), np.full((2, 2), np.nan), None]
    arrays[name] = random.choice([*others, arrays[name].astype("S"), arrays[name][..., None], *arrays.values()])
    if arrays[name] is None:
        del arrays[name]
    written = io.BytesIO()
    np.savez(written, **arrays)
    return written.getvalue()


def _mutate_checkpoint(data: bytes, random: Random) -> bytes:
    import torch

    content = torch.load(io.BytesIO(data), weights_only=True)
    tensors = [torch.zeros(0), torch.zeros(1).expand(1 << 40), torch.zeros(3).to_sparse(), torch.tensor(1 + 2j), None]
    holder = random.choice([content, content, content["state_dict"], content["trained_on"]])
    key = random.choice([*holder, "x"])
    holder[key] = random.choice(tensors) if random.random() < 0.5 else mutate_values(None, random)
    if random.random() < 0.2:
        content = holder[key]
    written = io.BytesIO()
    torch.save(content, written)
    if random.random() < 0.8:
        return written.getvalue()
    deflated = io.BytesIO()
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))
    return deflated.getvalue()


def _mutate_index(data: bytes, path: Path, random: Random) -> bytes:
    path.write_bytes(data)
    column = random.choice(("path", "size", "mtime_ns", "num_frames", "has_b_frames", "fps", "error", "width"))
    value = random.choice(("NULL", "-1", "9223372036854775807", "'x'", "x'ff00'", "1e999", "''"))
    evil = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS path FROM n"
    statement = random.choice(
        [
            f"UPDATE videos SET {column} = {value}",
            f"DROP TABLE videos; CREATE VIEW videos AS {evil}",
            "DROP TABLE videos; CREATE TABLE videos (path)",
            f"PRAGMA user_version = {random.randrange(3)}",
        ]
    )
    connection = sqlite3.connect(path)
    try:
        connection.executescript(statement)
    except sqlite3.Error:
        pass
    finally:
        connection.close()
    return path.read_bytes()


# ---- lists ----


def make_ucf101(folder: Path) -> None:
    names = [f"{name}/v_{name}_{group}_c01.avi" for name in CLASSES for group in GROUPS]
    _touch(folder, [f"UCF-101/{name}" for name in names])
    (folder / "classInd.txt").write_text("1 run\n2 jump\n")
    train = [
        f"{name} {1 + CLASSES.index(name.split('/')[0])}" for name in names if "_g0" in name and "_g01" not in name
    ]
    (folder / "trainlist01.txt").write_text("\n".join(train))
    (folder / "testlist01.txt").write_text("\r\n".join(name for name in names if "_g01" in name))


def read_ucf101(folder: Path) -> None:
    from twostream.data.sources import UCF101

    check_source(UCF101(folder, split=1))


def make_hmdb51(folder: Path) -> None:
    for name in CLASSES:
        videos = [f"{group}_{name}_u_nm_np1_fr_med_1.avi" for group in GROUPS]
        _touch(folder, [f"hmdb51/{name}/{video}" for video in videos])
        lines = [f"{video} {flag} " for video, flag in zip(videos, (1, 1, 2, 0), strict=True)]
        (folder / f"{name}_test_split1.txt").write_text("\n".join(lines))


def read_hmdb51(folder: Path) -> None:
    from twostream.data.sources import HMDB51

    check_source(HMDB51(folder, split=1))


def make_folder(folder: Path) -> None:
    names = [f"{name}/{group}.avi" for name in CLASSES for group in GROUPS]
    _touch(folder, names)
    rows = [f"{name},{name.split('/')[0]},,{'train' if i % 2 else 'test'}" for i, name in enumerate(names)]
    (folder / "split.csv").write_text("\n".join(["video,label,group,split", *rows]))


def read_folder(folder: Path) -> None:
    from twostream.data.sources import Folder

    check_source(Folder(folder, split=1, csv=folder / "split.csv"))


def make_folds(folder: Path) -> None:
    names = [f"{name}/{group}.avi" for name in CLASSES for group in GROUPS]
    _touch(folder, names)
    rows = [f"{name},{name.split('/')[0]},,{1 + i % 3}" for i, name in enumerate(names)]
    (folder / "folds.csv").write_text("\n".join(["video,label,group,fold", *rows]))


def read_folds(folder: Path) -> None:
    from twostream.data.sources import Folder

    check_source(Folder(folder, split=1, csv=folder / "folds.csv"))


def make_several(folder: Path) -> None:
    make_folder(folder)
    text = (folder / "split.csv").read_text()
    (folder / "split.csv").write_text(text.replace(f",{CLASSES[0]},", f",{CLASSES[0]};{CLASSES[1]},"))


def read_several(folder: Path) -> None:
    from twostream.data.sources import Folder

    check_source(Folder(folder, split=1, csv=folder / "split.csv", labels="multi"))


def check_source(source: Any) -> None:
    labels = [label for video in (*source.train, *source.test) for label in video.all_labels]
    assert all(0 <= label < len(source.classes) for label in labels)
    assert not {video.id for video in source.train} & {video.id for video in source.test}


def _touch(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


# ---- indexes, stores, packed frames ----


def make_index(folder: Path) -> None:
    from twostream.data.storage.index import Entry, open_index, write_entries

    connection = open_index(folder / "index.sqlite", write=True)
    facts = {"sha256": "0" * 64, "codec": "h264", "num_frames": 9, "fps": 25.0, "has_b_frames": False}
    write_entries(connection, [Entry(f"run/{i}.avi", i, 10**18, **facts) for i in range(40)])
    connection.commit()
    connection.close()


def read_index(folder: Path) -> None:
    from twostream.data.storage.index import VideoIndex

    index = VideoIndex(folder)
    for entry in index.entries():
        assert entry.num_frames is None or entry.num_frames > 0
    index.count(folder / "run" / "3.avi")
    index._connection().close()


def make_store(folder: Path) -> None:
    from flow_stores import store_clip

    from twostream.data.storage.flow_store import make_store as make

    for encoding in ("jpeg", "png", "small"):
        make(folder / encoding, _flow(), encoding=encoding)
        store_clip(folder / encoding, _video(folder), _flow(), decoder="pyav")


def read_store(folder: Path) -> None:
    from twostream.data.storage.flow_store import FlowStore

    for encoding in ("jpeg", "png", "small"):
        store = FlowStore(folder / encoding, _flow())
        store.require([_video(folder)])
        count, size = store.count(_video(folder)), store.frame_size(_video(folder))
        levels = store.levels(_video(folder), [(0, 1), (0, 0)])
        assert (count > 0, len(size), levels.shape[:2], levels.min() >= -127) == (True, 2, (2, 2), True)


def make_packed(folder: Path) -> None:
    from twostream.data.storage.packed import pack_clip

    pack_clip(_video(folder), folder, decoder="pyav")


def read_packed(folder: Path) -> None:
    from twostream.data.storage.packed import Packed

    packed = Packed(folder)
    packed.require([_video(folder)])
    assert packed.read(_video(folder), [0, packed.count(_video(folder)) - 1]).ndim == 4


def _flow() -> Any:
    from twostream.data.flow import DIS

    return DIS(length=3, preset="ultrafast")


def _video(folder: Path) -> Any:
    from twostream.data.sources import Video

    path = folder / "video.mp4"
    if not path.exists():
        write_clip(path, "mpeg4", 5)
    return Video("run/video.mp4", path, 0, "")


def write_clip(path: Path, codec: str, frames: int = 12) -> None:
    from small_videos import write_video

    write_video(path, frames, codec=codec)


def _features(folder: Path) -> Any:
    from twostream.prediction.feature_files import StoreFeatures
    from twostream.prediction.features import Grid, Reader, Row

    class Same(Reader):
        def __init__(self) -> None:
            pass

        def rows(self, video: Any, grid: Grid, files: Any) -> Any:
            return (Row(np.zeros(3, np.float32), (i, i + 1), (i / 25, (i + 1) / 25), (i,)) for i in range(4))

    return StoreFeatures(folder, Same, Grid(2, 1), settings={"layer": "head", "axes": "TD", "format": "npy"}, facts={})


def make_features(folder: Path) -> None:
    _features(folder)(_video(folder))


def read_features(folder: Path) -> None:
    assert _features(folder).is_there(_video(folder)) in (True, False)


# ---- what runs and sweeps leave ----


def make_sweep(folder: Path) -> None:
    from made_sweeps import sweep, write

    made = sweep({"fusion": ("sum", "conv"), "seed": ("0", "1")}, lambda fusion, seed: 0.5 + 0.1 * int(seed), folder)
    write(made, epochs=3, classes=CLASSES)
    config = {"streams": ["rgb", "flow"], "two_towers": False, "fusion": {"init": "sum"}, "logger": {"wandb": {}}}
    choices = {"data": "ucf101", "backbone": "vgg_m", "fusion": "conv", "temporal": "pool2d"}
    for cell in made.cells:
        assert cell.folder is not None
        assert cell.results is not None
        (cell.folder / "config.yaml").write_text(json.dumps(config))
        results = {**cell.results, "choices": {**choices, "attention": "none", "pooling": "native"}}
        (cell.folder / "results.json").write_text(json.dumps(results))
        (cell.folder / "error.txt").write_text("ValueError: no\n")


def read_sweep(folder: Path) -> None:
    from twostream.report import write_reports

    write_reports(folder, wandb="off")
    page = (folder / "report" / "report.html").read_text()
    assert (page.count("<script"), page.count("</script")) == (2, 2)


SWEEP = ["ledger.json", *(f"0/{name}" for name in ("overrides.json", "results.json", "metrics.csv", "config.yaml"))]


def make_scores(folder: Path) -> None:
    from made_sweeps import save_scores

    save_scores(folder / "scores.npz", [0, 0, 1], np.float32([[2, 1], [0, 1], [0, 3]]), CLASSES)


def make_label_scores(folder: Path) -> None:
    from twostream.metrics.scores import Scores

    labels, logits = np.array([[True, False], [False, False]]), np.array([[2, 1], [0, 3]], np.float32)
    told = {"protocol": "train", "checkpoint": "", "data": "folder", "split": 1, "part": "test"}
    scores = Scores(("a", "b"), labels, logits, ("run", "jump"), **told, thresholds=np.array([0.25, 0.5]))
    scores.save(folder / "scores.npz")


def read_scores(folder: Path) -> None:
    from twostream.metrics.scores import Scores
    from twostream.metrics.table import metrics_of

    scores = Scores.load(folder / "scores.npz")
    if scores.videos:
        metrics_of(scores)


def make_curves(folder: Path) -> None:
    (folder / "metrics.csv").write_text("epoch,step,val/top1,train/loss_step\n0,9,,2.5\n0,9,0.25,\n1,19,0.5,\n")


def read_curves(folder: Path) -> None:
    from twostream.metrics.plots import read_curves as for_pictures
    from twostream.report.curves import read_curves as for_report

    for_report(folder / "metrics.csv", ["val/top1"])
    for_pictures(folder / "metrics.csv")


def make_run(folder: Path) -> None:
    from run_folders import make_run as make

    make(folder, "backbone.width=0.25")


def read_run(folder: Path) -> None:
    from twostream.config.clips import build_clips
    from twostream.config.loaded import load_run
    from twostream.config.saved import errors_name_file
    from twostream.prediction.predictor import Predictor

    run = load_run(folder)
    Predictor(run, device="cpu")
    with errors_name_file(folder / "config.yaml"):
        build_clips(run.cfg, [])


def make_checkpoint(folder: Path) -> None:
    import torch

    history = {"lists": ["folder split 1"], "videos": torch.arange(5)}
    content = {"state_dict": {"a": torch.zeros(3, 4)}, "classes": list(CLASSES), "trained_on": history}
    torch.save(content, folder / "best.ckpt")
    from twostream.runs.checkpoint import write_safetensors

    write_safetensors(folder / "model.safetensors", content)


def read_checkpoint(folder: Path) -> None:
    from twostream.data.history import History
    from twostream.runs.checkpoint import read_checkpoint as read

    for name in ("best.ckpt", "model.safetensors"):
        content = read(folder / name)
        if name == "best.ckpt":
            History.from_checkpoint(folder / name)
        assert all(isinstance(one, str) for one in content["classes"])


# ---- archives ----


def make_archives(folder: Path) -> None:
    from archive_files import write_tar, write_zip

    files = {"run/a.avi": b"one" * 100, "run/naïve.avi": os.urandom(300), "read me.txt": b"!"}
    write_zip(folder / "a.zip", files)
    for name in ("a.tar", "a.tar.gz"):
        write_tar(folder / name, files)
    with zipfile.ZipFile(folder / "b.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x/y.txt", b"y" * 1000)


ARCHIVES = ["a.zip", "b.zip", "a.tar", "a.tar.gz"]


def read_archives(folder: Path) -> None:
    from twostream.data.prepare.archives import ArchiveError, unpack

    before = {path.name for path in folder.parent.iterdir()} | {path.name for path in folder.iterdir()}
    for name in ARCHIVES:
        try:
            unpack(folder / name, folder / "out" / "deep")
        finally:
            shutil.rmtree(folder / "out", ignore_errors=True)
    after = {path.name for path in folder.parent.iterdir()} | {path.name for path in folder.iterdir()}
    assert before == after, (before ^ after, ArchiveError)


# ---- videos ----

VIDEOS = {"a.avi": "mpeg4", "a.mp4": "libx264", "a.mkv": "libx264", "b.avi": "mjpeg"}


def make_videos(folder: Path) -> None:
    for name, codec in VIDEOS.items():
        write_clip(folder / name, codec)


def read_videos(folder: Path) -> None:
    for name in VIDEOS:
        read_video(folder / name)


def make_real(folder: Path) -> None:
    for name, path in REAL.items():
        shutil.copyfile(min(Path(os.environ["TWOSTREAM_REAL_DATA"]).glob(path)), folder / name)


REAL = {
    "ucf.avi": "UCF-101/*/*.avi",
    "hmdb.avi": "hmdb51/*/*.avi",
    "av1.mkv": "hard/torchcodec_av1_video.mkv",
    "h265.mp4": "hard/torchcodec_h265_video.mp4",
}


def read_real(folder: Path) -> None:
    for name in REAL:
        read_video(folder / name)


def read_video(path: Path) -> None:
    """By every decoder; raises the first one's error where none can."""
    from twostream.data.decoding import DECODERS, VideoError, count_frames, probe, read_frames, timed_frames

    errors = []
    decoders = [name for name in DECODERS if _installed(name)]
    for decoder in decoders:
        try:
            if decoder == "pyav":
                probe(path)
                for _ in zip(range(40), timed_frames(path), strict=False):
                    pass
            count = count_frames(path, decoder=decoder)
            indices = [0, count // 2, count - 1] if count < 500 else [0, 1]
            frames = read_frames(path, indices, decoder=decoder)
            assert (frames.shape[0], frames.dtype) == (len(indices), np.uint8)
        except VideoError as error:
            errors.append(error)
    if len(errors) == len(decoders):  # decord knows no AV1
        raise errors[0]


def _installed(decoder: str) -> bool:
    from twostream.data.decoding import check_decoder

    try:
        check_decoder(decoder)
    except ImportError:
        return False
    return True


KINDS = {
    kind.name: kind
    for kind in (
        Kind("UCF101 lists", make_ucf101, ["classInd.txt", "trainlist01.txt", "testlist01.txt"], read_ucf101),
        Kind("HMDB51 lists", make_hmdb51, ["run_test_split1.txt", "jump_test_split1.txt"], read_hmdb51),
        Kind("folder CSV", make_folder, ["split.csv"], read_folder),
        Kind("CSV of folds", make_folds, ["folds.csv"], read_folds),
        Kind("several labels CSV", make_several, ["split.csv"], read_several),
        Kind("index.sqlite", make_index, ["index.sqlite"], read_index),
        Kind(
            "flow store",
            make_store,
            ["jpeg/manifest.json", *(f"{name}/run/video.mp4.flow" for name in ("jpeg", "png", "small"))],
            read_store,
        ),
        Kind("packed frames", make_packed, ["run/video.mp4.frames"], read_packed),
        Kind("features", make_features, ["run/video.json"], read_features),
        Kind("sweep folder", make_sweep, SWEEP, read_sweep),
        Kind("scores.npz", make_scores, ["scores.npz"], read_scores),
        Kind("several labels npz", make_label_scores, ["scores.npz"], read_scores),
        Kind("metrics.csv", make_curves, ["metrics.csv"], read_curves),
        Kind("checkpoint", make_checkpoint, ["best.ckpt", "model.safetensors"], read_checkpoint),
        Kind("run folder", make_run, ["config.yaml"], read_run),
        Kind("archives", make_archives, ARCHIVES, read_archives),
        Kind("videos", make_videos, list(VIDEOS), read_videos, limit=30.0, in_process=False, each=read_video),
        Kind("real videos", make_real, list(REAL), read_real, limit=60.0, in_process=False, each=read_video),
    )
}
