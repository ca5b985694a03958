"""Flow on disk: the same fields as computed, within what JPEG changes, and never those of anything else."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flow_stores import decode_field, store_clip

from twostream.data.dataset import ClipDataset
from twostream.data.decoding import VideoError, read_frames
from twostream.data.flow import DIS, TVL1, Farneback, quantise
from twostream.data.frames import Decoded
from twostream.data.record import Record, differences
from twostream.data.sampling import Chunks
from twostream.data.sources import Video
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.data.storage.container import Container, write_container
from twostream.data.storage.flow_store import (
    ENCODINGS,
    READING,
    Claim,
    FlowStore,
    FlowStoreError,
    clip_path,
    encode_field,
    make_store,
    read_manifest,
)
from twostream.data.transform import CentreCrop
from twostream.options import streams

FLOW = DIS(length=3, preset="ultrafast")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> MovingPatterns:
    return MovingPatterns(tmp_path_factory.mktemp("cache"), split=1, train_clips=16, test_clips=16)


@pytest.fixture(scope="module", params=["jpeg", "png", "small"])
def store(request, source, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("store")
    make_store(root, FLOW, encoding=request.param)
    for video in source.train:
        assert store_clip(root, video, FLOW).done == "computed"
    return root


def test_no_motion_is_exact_and_every_level_in_png() -> None:
    still = np.zeros((37, 51, 2), np.int8)
    for encoding in ENCODINGS:
        assert not decode_field(encode_field(still, encoding), 37, 51).any(), encoding
    levels = np.random.default_rng(0).integers(-127, 128, (37, 51, 2)).astype(np.int8)
    assert np.array_equal(decode_field(encode_field(levels, "png", 0), 37, 51), levels)


def test_u_does_not_ring_into_v() -> None:
    """A hard edge in u at the last column: v beside it stays exactly zero."""
    levels = np.zeros((16, 21, 2), np.int8)
    levels[:, 18:, 0] = 120
    assert not decode_field(encode_field(levels, "jpeg", 50), 16, 21)[..., 1].any()


def test_beside_a_gpu_other_threads_decode_and_encode_the_same_bytes(source, tmp_path, monkeypatch) -> None:
    video, whole = source.train[0], tmp_path / "one thread"
    make_store(whole, FLOW, encoding="jpeg")
    store_clip(whole, video, FLOW)
    monkeypatch.setattr(DIS, "on_gpu", True)
    make_store(tmp_path / "several", FLOW, encoding="jpeg")
    store_clip(tmp_path / "several", video, FLOW)
    wanted, found = (Container(clip_path(root, video)) for root in (whole, tmp_path / "several"))
    assert found.header == wanted.header
    assert [found[i] for i in range(len(found))] == [wanted[i] for i in range(len(wanted))]


def test_clips_from_the_store_are_those_that_are_computed(source, store) -> None:
    options = {"sampling": Chunks(2, stride=(2, 2)), "transform": CentreCrop(size=64, crop_fraction=1.0)}
    options |= {"flow": FLOW, "frame_source": Decoded()}
    computed = ClipDataset(source.train, **options)
    stored = ClipDataset(source.train, flow_store=FlowStore(store, FLOW), **options)
    lossless = json.loads((store / "manifest.json").read_text())["encoding"] == "png"
    errors = []
    for index in range(4):
        one, other = computed[(0, index)], stored[(0, index)]
        assert torch.equal(one.first, other.first)
        errors.append((one.second.float() - other.second.float()).abs())
    error = torch.stack(errors)
    small = json.loads((store / "manifest.json").read_text())["encoding"] == "small"
    assert error.max() == 0 if lossless else error.mean() < (0.8 if small else 0.3), error.mean()
    assert error.max() <= (40 if small else 20)


def test_flow_alone_opens_no_video(source, store, monkeypatch) -> None:
    class Closed:
        def count(self, video):
            pytest.fail("counted")

        read = count

    options = {"sampling": Chunks(2, stride=(2, 2)), "transform": CentreCrop(size=64), "flow": FLOW}
    dataset = ClipDataset(
        source.train,
        flow_store=FlowStore(store, FLOW),
        frame_source=Closed(),
        streams=(streams.flow(FLOW.length),),
        **options,
    )
    assert dataset[(0, 0)].first.shape == (1, 2, 6, 64, 64)
    assert dataset.num_frames(0) == 12


def test_a_store_of_other_settings_is_refused_with_both_values(store) -> None:
    with pytest.raises(FlowStoreError, match=r"preset='ultrafast', wanted is preset='fast'"):
        FlowStore(store, DIS())
    with pytest.raises(FlowStoreError, match=r"algorithm='DIS', wanted is algorithm='Farneback'"):
        FlowStore(store, Farneback())
    with pytest.raises(FlowStoreError, match=r"bound=20.0, wanted is bound=10.0"):
        FlowStore(store, DIS(preset="ultrafast", bound=10))
    with pytest.raises(FlowStoreError, match="choose another folder"):
        make_store(store, DIS())
    FlowStore(store, DIS(preset="ultrafast", length=10))  # fields do not depend on how many are stacked


def test_a_video_that_changed_or_is_not_there_is_refused(source, store, tmp_path) -> None:
    reader = FlowStore(store, FLOW)
    first = source.train[0]
    other = Video(id=first.id, path=source.train[1].path, label=0, group="x")
    sizes = [file.path.stat().st_size for file in (source.train[1], first)]
    with pytest.raises(FlowStoreError, match=f"has {sizes[0]:,} bytes, and {sizes[1]:,} when"):
        reader.count(other)
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(first.path.read_bytes()[:-1] + b"?")
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in (changed, first.path)]
    with pytest.raises(FlowStoreError, match=f"SHA-256 {hashes[0]}…, and {hashes[1]}… when"):
        reader.count(replace(first, path=changed))
    copied = tmp_path / "copied.mp4"
    copied.write_bytes(first.path.read_bytes())
    assert reader.count(replace(first, path=copied)) == 12, "another time, the same content"
    with pytest.raises(FlowStoreError, match="not there; complete the store with `twostream flow`"):
        reader.count(source.test[0])
    with pytest.raises(ValueError, match="not a path below"):
        reader.count(Video(id="../x", path=first.path, label=0, group="x"))
    for pair in ((0, 2), (3, 2), (-1, 0), (11, 12), (12, 12)):
        with pytest.raises(ValueError, match=rf"no field from frame {pair[0]} to {pair[1]}; it has 11"):
            reader.levels(first, [pair])
    with pytest.raises(FlowStoreError, match=r"16 of 32 videos are not there; complete it with `twostream flow`"):
        reader.require([*source.train, *source.test])
    reader.require(source.train)


def test_a_store_of_another_version_of_its_algorithm_is_refused(source, tmp_path) -> None:
    """The first version was not on record. DIS and TV-L1 of it may have depended on what was computed before."""

    def write(name: str, flow, *, version: int | None, **options) -> Path:
        make_store(tmp_path / name, flow, **options)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        manifest["flow"].pop("version", None)
        manifest["flow"] |= {} if version is None else {"version": version}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path / name

    for name, flow, version in (("dis", FLOW, None), ("tvl1", TVL1(), None), ("newer", Farneback(), 2)):
        root = write(name, flow, version=version)
        wanted = rf"made with version {version or 1} of {type(flow).__name__}, .* of version {flow.version}; "
        for refuse in (lambda: FlowStore(root, flow), lambda: make_store(root, flow)):  # noqa: B023
            with pytest.raises(FlowStoreError, match=wanted + "delete the folder and run `twostream flow` again"):
                refuse()
    for name, flow, options in (("farneback", Farneback(), {}), ("imported", DIS(), {"origin": "denseflow"})):
        root = write(name, flow, version=None, **options)
        make_store(root, flow, **options)
        FlowStore(root, flow)


def without_version(path: Path) -> None:
    """The file as it was written before the version of the decoding was on record."""
    container = Container(path)
    blobs, header = [container[index] for index in range(len(container))], container.header
    del header["source"]["frames"]
    write_container(path, blobs, header=header)


def test_fields_of_frames_of_another_version_are_refused_and_made_again(source, tmp_path) -> None:
    video = source.train[0]
    make_store(tmp_path, FLOW)
    store_clip(tmp_path, video, FLOW)
    without_version(clip_path(tmp_path, video))
    message = r"the frames are of version 1 of our decoding, and those of version 2 may differ; run `twostream flow`"
    for here in (video, replace(video, path=tmp_path / "absent.mp4")):  # also where nothing is left to compare with
        with pytest.raises(FlowStoreError, match=message):
            FlowStore(tmp_path, FLOW).count(here)
    assert store_clip(tmp_path, video, FLOW).done == "computed"
    assert FlowStore(tmp_path, FLOW).count(video) == 12


def test_what_is_there_is_left_alone_and_what_is_damaged_is_made_again(source, tmp_path) -> None:
    make_store(tmp_path, FLOW)
    video = source.train[0]
    path = clip_path(tmp_path, video)
    assert store_clip(tmp_path, video, FLOW).items == 11
    whole = path.read_bytes()
    assert store_clip(tmp_path, video, FLOW).done == "there"
    path.write_bytes(whole[:-5])
    assert store_clip(tmp_path, video, FLOW).done == "computed"
    assert path.read_bytes() == whole


def test_a_run_that_read_its_store_by_an_earlier_version_differs(store) -> None:
    """Version 1 was not on record: there, the manifest alone was noted."""
    before = json.dumps(read_manifest(store), sort_keys=True)
    now = FlowStore(store, FLOW).identity()
    assert json.loads(now) == {**json.loads(before), "reading": READING}
    parts = {"train": (), "validation": (), "test": ()}
    told = ["the flow store was made with other settings, or is made or read by another version"]
    assert differences(Record((), parts, before), Record((), parts, now)) == told


def test_fields_by_hand(source, store) -> None:
    """Field j of the store is the flow from frame j to j+1."""
    video = source.train[2]
    frames = dict(enumerate(read_frames(video.path, range(12))))
    expected = quantise(FLOW.fields(frames, [(4, 5)])[4, 5], 20.0).transpose(2, 0, 1)
    levels = FlowStore(store, FLOW).levels(video, [(4, 5), (7, 7)])
    assert np.abs(levels[0] - expected.astype(int)).mean() < 0.5
    assert not levels[1].any()
    assert levels.min() >= -127


def pretend(claim: Claim, **changes) -> None:
    """Another process's claim."""
    holder = {**json.loads(claim.lock.read_text()), "token": "another", **changes}
    claim.lock.write_text(json.dumps(holder))


def test_a_claim_belongs_to_one_living_process(tmp_path: Path) -> None:
    first, second = Claim(tmp_path / "x.flow"), Claim(tmp_path / "x.flow")
    assert first.take()
    assert not second.take(), "we live"
    first.release()
    assert os.listdir(tmp_path) == []
    assert second.take()
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    pretend(second, pid=int(dead.stdout))
    assert Claim(tmp_path / "x.flow").take(), "its process is gone"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells when a process started")
def test_a_process_id_that_came_back_is_another_process(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "x.flow")
    assert claim.take()
    pretend(claim, started="1")
    assert Claim(tmp_path / "x.flow").take()


def test_a_claim_from_elsewhere_lasts_as_long_as_it_is_refreshed(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "x.flow")
    assert claim.take()
    pretend(claim, host="elsewhere", pid=1)
    assert not Claim(tmp_path / "x.flow").take()
    os.utime(claim.lock, (0, 0))
    assert Claim(tmp_path / "x.flow").take(), "silent for long"
    claim.release()
    assert claim.lock.exists(), "what is no longer ours stays"


def test_a_job_that_slurm_requeued_has_the_claims_that_it_left_on_another_host(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    claim = Claim(tmp_path / "x.flow")
    assert claim.take()
    pretend(claim, host="elsewhere", pid=1)
    assert not Claim(tmp_path / "x.flow").take(), "another task of the job"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = Claim(tmp_path / "x.flow")
    assert again.take()
    pretend(again, host="elsewhere", pid=1)
    monkeypatch.setenv("SLURM_JOB_ID", "72")
    assert not Claim(tmp_path / "x.flow").take(), "another job"


def test_a_claim_that_was_never_filled_holds_nobody_up(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "x.flow")
    claim.lock.touch()
    assert not claim.take(), "it may be filled this moment"
    os.utime(claim.lock, (0, 0))
    assert claim.take()


def test_taking_over_removes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "x.flow")
    assert claim.take()
    pretend(claim, started="1")
    for name in (".x.flow.7-0123abcd.tmp", ".x.flow.y.flow.7-0123abcd.tmp", ".y.flow.7-0123abcd.tmp", "x.flow"):
        (tmp_path / name).touch()
    assert Claim(tmp_path / "x.flow").take()
    assert set(os.listdir(tmp_path)) == {
        ".x.flow.claim",
        ".x.flow.y.flow.7-0123abcd.tmp",
        ".y.flow.7-0123abcd.tmp",
        "x.flow",
    }


def test_a_video_that_is_claimed_is_left_to_the_other(source, tmp_path: Path) -> None:
    make_store(tmp_path, FLOW)
    path = clip_path(tmp_path, source.train[0])
    claim = Claim(path)
    assert claim.take()
    assert store_clip(tmp_path, source.train[0], FLOW).done == "elsewhere"
    claim.release()
    assert store_clip(tmp_path, source.train[0], FLOW).done == "computed"
    assert os.listdir(path.parent) == [path.name]


def test_a_broken_video_leaves_nothing(tmp_path: Path, source) -> None:
    make_store(tmp_path / "store", FLOW)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(b"no video")
    with pytest.raises(VideoError):
        store_clip(tmp_path / "store", Video(id="a/cut.mp4", path=cut, label=0, group="x"), FLOW)
    assert os.listdir(tmp_path / "store" / "a") == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 9, "flow": {"algorithm": "DIS"}, "encoding": "jpeg"}'])
def test_other_manifests_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(FlowStoreError, match=str(tmp_path)):
        FlowStore(tmp_path, FLOW)
    with pytest.raises(FlowStoreError, match="make one with `twostream flow`"):
        FlowStore(tmp_path / "nowhere", FLOW)


def test_fields_of_real_clips_are_within_a_tenth_of_a_level(real_data: Path) -> None:
    """The mean over clips, at the default quality; the single field of much fine motion is off by up to .25."""
    flow, errors = DIS(), []
    for file in sorted((real_data / "UCF-101").glob("*/*.avi"))[::8]:
        frames = dict(enumerate(read_frames(file, range(12))))
        for field in flow.fields(frames, [(0, 1), (10, 11)]).values():
            levels = quantise(field, 20.0)
            height, width = levels.shape[:2]
            stored = decode_field(encode_field(levels, "jpeg", 90), height, width)
            errors.append(np.abs(stored.astype(int) - levels).mean())
    assert np.mean(errors) <= 0.1
