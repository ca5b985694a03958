"""Clips that a device decodes: the numbers of those that workers decode, to one grey level."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.flow_stores import store_clip
from twostream.config.compose import compose_config
from twostream.config.data import build_data, build_source, build_views, check_decode
from twostream.data.dataset import ClipDataset, collate
from twostream.data.decoding import VideoError
from twostream.data.flow.opencv import DIS
from twostream.data.loader import on_device
from twostream.data.module import VideoDataModule
from twostream.data.sampling import Chunks
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.data.storage.container import Container, ContainerError, write_container
from twostream.data.storage.flow_store import FlowStore, clip_path, make_store
from twostream.data.storage.packed import Packed, pack_clip, packed_path
from twostream.data.transform import CentreCrop, JitterCrop
from twostream.data.undecoded import UndecodedClips, resized, weights
from twostream.options.streams import Stream, diff, flow, rgb
from twostream.training.bench import time_loader, time_loading

STREAMS = {"both": [rgb(), flow(3)], "rgb": [rgb()], "flow": [flow(3)], "diff": [rgb(), diff(2)]}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> MovingPatterns:
    return MovingPatterns(tmp_path_factory.mktemp("cache"), split=1, train_clips=16, test_clips=16)


@pytest.fixture(scope="module")
def stored(source, tmp_path_factory) -> tuple[Path, Path]:
    """Packed frames and a flow store of the training videos."""
    packed, store = tmp_path_factory.mktemp("packed"), tmp_path_factory.mktemp("store")
    make_store(store, DIS(length=3))
    for video in source.train:
        pack_clip(video, packed)
        store_clip(store, video, DIS(length=3))
    return packed, store


def clips(
    kind: type[ClipDataset],
    source: MovingPatterns,
    stored: tuple[Path, Path],
    streams: Sequence[Stream],
    **options: Any,
) -> ClipDataset:
    packed, store = stored
    parts = {"sampling": Chunks(2, stride=(2, 4), test_views=2), "transform": JitterCrop(size=48, test_flip=True)}
    return kind(
        source.train,
        **{**parts, **options},
        flow=DIS(length=3),
        frame_source=Packed(packed),
        flow_store=FlowStore(store, DIS(length=3)),
        streams=streams,
        seed=3,
    )


def most_apart(one: Tensor, other: Tensor) -> tuple[int, float]:
    apart = (one.int() - other.int()).abs()
    return int(apart.max()), float(apart.float().mean())


@pytest.mark.parametrize("names", STREAMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [24, 48, 80], ids=["areas", "mixed", "interpolated"])
def test_clips_are_those_of_workers_to_one_level(source, stored, names, training, size) -> None:
    options: dict[str, Any] = {"training": training, "transform": JitterCrop(size=size, test="five", test_flip=True)}
    one, other = (clips(kind, source, stored, STREAMS[names], **options) for kind in (ClipDataset, UndecodedClips))
    keys = [(epoch, index) for epoch in range(2) for index in range(3)]
    expected: Any = collate([one[key] for key in keys])
    found = on_device(pickle.loads(pickle.dumps(collate([other[key] for key in keys]))), "cpu")
    for a, b in zip(found[:2], expected[:2], strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.numel():
            most, mean = most_apart(a, b)
            assert most <= (2 if "diff" in names and a.dtype == torch.int16 else 1)  # each of two frames by one
            assert mean < 0.2  # OpenCV interpolates bytes with weights of 11 bits
    assert [part.tolist() for part in found[2:]] == [part.tolist() for part in expected[2:]]


def test_mirrored_flow_is_negated_and_no_motion_stays_zero(source, stored) -> None:
    """Beyond the last frame a pair is of equal frames, which no picture stands for."""
    data, boxes = clips(UndecodedClips, source, stored, [flow(3)]), CentreCrop(size=64, test_flip=True).fixed(64, 64)
    pairs = np.array([[0, 1], [11, 11], [10, 11]])[None, None]
    made: Any = data._flow(flow(3), source.train[0], {}, pairs, boxes, (64, 64))
    assert made.clips[0].places.tolist() == [[[0, -1, 1]]]
    [[[plain], [mirrored]]] = made.to("cpu")
    alone: Any = data._flow(flow(3), source.train[0], {}, pairs[:, :, [1, 1, 1]], boxes, (64, 64))
    both = alone.joined([alone, made, alone]).to("cpu")  # a clip without any picture, beside one that has some
    assert not both[::2].any()
    assert torch.equal(both[1], made.to("cpu")[0])
    signs = torch.tensor([-1, 1]).repeat(3)[:, None, None]
    assert torch.equal(mirrored, plain.flip(-1) * signs)
    assert [bool(field.any()) for field in plain.chunk(3)] == [True, False, True]


def test_loader_hands_over_pieces_that_workers_have_not_decoded(source, stored) -> None:
    one, other = (clips(kind, source, stored, STREAMS["both"], training=True) for kind in (ClipDataset, UndecodedClips))
    made = [
        VideoDataModule(train=data, validation=data, test=data, batch_size=8, num_workers=workers, seed=1)
        for data, workers in ((one, 0), (other, 2))
    ]
    expected, found = (list(module.train_dataloader()) for module in made)
    assert len(expected) == len(found) == 2
    for a, b in zip(found, expected, strict=True):
        assert isinstance(a, list)
        assert len(a) == 2
        decoded = on_device(a, "cpu")
        assert most_apart(decoded.first, b.first)[0] <= 1
        assert most_apart(decoded.second, b.second)[0] <= 1
        assert torch.equal(decoded.index, b.index)


@pytest.mark.parametrize(("length", "size"), [(13, 5), (5, 13), (8, 8), (8, 4), (31, 30), (1, 7)])
def test_resizing_is_that_of_opencv(length, size) -> None:
    image = np.random.default_rng(0).uniform(-127, 127, (length, length + 1)).astype(np.float32)
    shrinks = length > size
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    expected = cv2.resize(image, (size, size), interpolation=mode)
    [[found]] = resized(torch.from_numpy(image)[None, None], (size, size))
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)
    assert weights(length, size, shrinks=shrinks, device="cpu").sum(1).numpy() == pytest.approx(np.ones(size))


def test_damage_is_told_by_name(source, stored, tmp_path) -> None:
    """Of a picture whose size is right, but not its content, the device's decoder says only that it failed."""
    packed, store = stored
    whole = Container(packed_path(packed, source.train[0].id))
    blobs = [whole[index] for index in range(len(whole))]
    broken = [blob[: len(blob) // 2] + b"\xff\x00" * 4 for blob in blobs]  # without an end
    header = {**whole.header}
    for number, (blob, message) in enumerate([(blobs[1][:4] + blobs[1][9:], "cannot be read"), (b"GIF89a", "neither")]):
        folder = tmp_path / str(number)
        write_container(packed_path(folder, source.train[0].id), [blob] * len(blobs), header=header)
        with pytest.raises(VideoError, match=message):
            clips(UndecodedClips, source, (folder, store), [rgb()])[0, 0]
    folder = tmp_path / "half"
    write_container(packed_path(folder, source.train[0].id), [blob[:200] for blob in broken], header=header)
    clip = clips(UndecodedClips, source, (folder, store), [rgb()])[0, 0]
    with pytest.raises(VideoError, match=f"{source.train[0].path}: has a picture that cannot be decoded"):
        on_device(clip, "cpu")  # type: ignore[arg-type]
    field = Container(clip_path(store, source.train[0]))
    write_container(clip_path(tmp_path, source.train[0]), [blobs[0]] * len(field), header=field.header)
    (tmp_path / "manifest.json").write_text((store / "manifest.json").read_text())
    with pytest.raises(ContainerError, match="field 0 is no JPEG of a field of 64 x 64"):
        FlowStore(tmp_path, DIS(length=3)).jpegs(source.train[0], [(0, 1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there is no GPU here"),
        (["gpu"], "frames are no JPEGs; pack them"),
        (["gpu", "data.frames=packed"], "flow is computed; write it into a store"),
        (["gpu", "data.frames=packed", "streams=rgb", "data.cache=ram"], "data.cache=ram keeps decoded frames"),
        (["gpu", "data.frames=packed", "streams=rgb", "transform.colour.hue=0.1"], "transform.colour changes"),
        (["gpu", "data.frames=packed", "streams=rgb", "broken=skip"], "cannot leave out what is decoded behind them"),
        (["gpu", "streams=flow", "flow.store=STORE", "flow=motion_vectors"], "holds no JPEGs of whole pixels"),
    ],
)
def test_what_a_gpu_cannot_decode_is_refused_in_a_line(options, message, stored, monkeypatch) -> None:
    words = [word.replace("STORE", str(stored[1])) for word in options if word != "gpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "gpu" in options)
    with pytest.raises(ValueError, match=f"^data.decode=gpu: .*{message}.*; or choose data.decode=cpu$"):
        check_decode(compose_config(["data=folder", "data.root=x", "data.decode=gpu", *words]))


def test_the_time_of_each_stage_is_measured(source, stored) -> None:
    """As `twostream bench` does: pictures are read, not decoded, and a batch comes in pieces."""
    data = clips(UndecodedClips, source, stored, STREAMS["both"], training=True)
    spent, made = time_loading(data, 60.0, most=3)
    assert len(made) == 3
    assert all(seconds > 0 for seconds in spent.values())
    assert isinstance(data.frame_source, Packed), "the clocks are gone"
    assert time_loader(data, 2, 0, 0.1) > 0


def test_a_run_gets_such_clips(source, tmp_path, monkeypatch) -> None:
    """Of the same videos, in training and test."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    root = source.train[0].path.parents[1]
    words = ["data=folder", f"data.root={root}", "data.frames=packed", f"data.packed={tmp_path}", "streams=rgb"]
    words += ["pin_memory=false", "batch_size=4", "num_workers=0", "transform.size=40", "data.cache=null"]
    words += ["validation_fraction=0"]
    made = []
    configured = [compose_config([*words, f"data.decode={decode}"]) for decode in ("cpu", "gpu")]
    for cfg in configured:
        check_decode(cfg)
        listed = build_source(cfg)
        for video in (*listed.train, *listed.test):
            pack_clip(video, tmp_path)
        made.append(build_data(cfg, listed))
    for name in ("train_dataloader", "test_dataloader"):
        worker, gpu = (next(iter(getattr(data, name)())) for data in made)
        assert isinstance(gpu, list)
        found, expected = on_device(gpu, "cpu"), on_device(worker, "cpu")
        assert most_apart(found.first, expected.first)[0] <= 1
        assert found.second.shape == expected.second.shape
        assert torch.equal(found.index, expected.index)
    viewed = [build_views(cfg, listed, part="test", protocol="paper", frame_by_frame=False)[0, 0] for cfg in configured]
    assert all(isinstance(part, torch.Tensor) for part in viewed[1])
    assert all(torch.equal(one, other) for one, other in zip(*viewed, strict=True)), "evaluate takes both"
