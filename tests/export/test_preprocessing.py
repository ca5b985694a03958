"""`preprocessing.json` is enough to make the network's input, with OpenCV and NumPy alone."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from run_folders import CLASSES, make_run

from twostream.config.clips import build_clips
from twostream.config.loaded import load_run
from twostream.data.decoding import read_frames
from twostream.data.decoding.frames import count_frames
from twostream.data.made import positions
from twostream.export.preprocessing import preprocessing, random_inputs


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """40 frames of 96×64: blobs that drift."""
    path = tmp_path_factory.mktemp("clip") / "drift.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 64))
    noise = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)
    still = cv2.resize(noise, (256, 128), interpolation=cv2.INTER_CUBIC)
    for frame in range(40):
        writer.write(still[20 : 20 + 64, 3 * frame : 3 * frame + 96])
    writer.release()
    return path


def by_the_book(spec: dict, path: Path) -> dict[str, np.ndarray]:
    """What the file says, word for word."""
    F, T, L = count_frames(path), spec["T"], spec["L"]
    frames = read_frames(path, range(F))
    if spec["sampling"]["kind"] == "Chunks":
        stride = max(0, min(spec["sampling"]["test_stride"], (F - L - 1) // (T - 1)))
        first = max(0, F - (T - 1) * stride - L - 1) // 2
        starts = [first + k * stride for k in range(T)]
    elif spec["sampling"]["kind"] == "Clip":
        stride = spec["sampling"]["test_stride"]
        first = max(0, F - (T - 1) * stride - L - 1) // 2
        starts = [min(first + k * stride, max(0, F - L - 1)) for k in range(T)]
    else:
        M = max(1, F - L)
        starts = [(2 * k + 1) * M // (2 * T) for k in range(T)]

    size, (height, width) = spec["crop"]["size"], frames[0].shape[:2]
    side = round(spec["crop"]["crop_fraction"] * min(height, width))
    top, left = round((height - side) / 2), round((width - side) / 2)

    def crop(image: np.ndarray) -> np.ndarray:
        h, w = image.shape[:2]
        rows, columns = round(side / height * h), round(side / width * w)
        y, x = round(top / height * h), round(left / width * w)
        shrinks = rows > size and columns > size
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(image[y : y + rows, x : x + columns], (size, size), interpolation=how)
        return resized if image.dtype == np.uint8 else resized * np.float32([size / columns, size / rows])

    rgb = [crop(frames[min(s + L // 2, F - 1)]).transpose(2, 0, 1) for s in starts]

    flow = []
    bound, short = spec["flow"]["bound"], spec["flow"]["short_side"]
    for s in starts:
        for j in range(L):
            pair = [cv2.cvtColor(frames[min(i, F - 1)], cv2.COLOR_RGB2GRAY) for i in (s + j, s + j + 1)]
            if short is not None:
                scale = short / min(height, width)
                wanted = (round(width * scale), round(height * scale))
                pair = [cv2.resize(image, wanted, interpolation=cv2.INTER_AREA) for image in pair]
            long_side, short_side = max(pair[0].shape), min(pair[0].shape)
            finest = 0 if long_side < 46 else 1 if long_side < 91 or short_side < 32 else 2
            algorithm = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
            algorithm.setFinestScale(min(algorithm.getFinestScale(), finest))
            field = crop(algorithm.calc(pair[0], pair[1], None))
            flow.append(np.rint(127 / bound * np.clip(field, -bound, bound)).astype(np.int8).transpose(2, 0, 1))
    return {"rgb": np.stack(rgb), "flow": np.stack(flow).reshape(T, 2 * L, size, size)}


@pytest.mark.parametrize(
    "overrides",
    [
        ["sampling.num_chunks=3", "flow.length=4", "transform=centre", "transform.size=32"],
        [
            "sampling=segments",
            "flow.length=3",
            "transform=paper",
            "transform.size=48",
            "flow.short_side=40",
            "flow.bound=9",
        ],
        ["sampling=clip", "sampling.num_frames=5", "sampling.stride=2", "flow.length=1", "transform.size=32"],
        ["sampling=clip", "sampling.num_frames=40", "flow.length=1", "transform.size=32"],
    ],
    ids=["chunks", "segments", "clip", "clip-too-long"],
)
def test_the_file_is_enough(overrides: list[str], clip: Path, tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", *overrides))
    clips = build_clips(run.cfg, [clip])
    spec = json.loads(json.dumps(preprocessing(clips, run.system)))
    ours, theirs = clips[0, 0], by_the_book(spec, clip)
    assert ours is not None
    assert [*ours.first.shape[1:]] == spec["inputs"]["rgb"]["shape"][1:]
    assert [*ours.second.shape[1:]] == spec["inputs"]["flow"]["shape"][1:]
    assert np.array_equal(ours.first[0].numpy(), theirs["rgb"])
    assert np.abs(ours.second[0].numpy().astype(int) - theirs["flow"]).max() <= 1, "one level, where a half is rounded"
    assert (ours.second[0].numpy() == theirs["flow"]).mean() > 0.999
    assert np.abs(theirs["flow"]).max() > 5, "there is motion"


def test_motion_vectors_have_a_rule_of_their_own(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", "flow=motion_vectors", "transform.size=32"))
    spec = preprocessing(build_clips(run.cfg, ()), run.system)
    assert spec["flow"]["algorithm"] == "MotionVectors"
    assert "export_mvs" in spec["flow"]["rule"]


def test_flow_beside_a_longer_stack_lies_in_its_middle(tmp_path: Path) -> None:
    words = ["streams=[diff,flow]", "diff.length=9", "flow.length=5", "transform.size=32"]
    run = load_run(make_run(tmp_path / "run", *words))
    clips = build_clips(run.cfg, ())
    spec = preprocessing(clips, run.system)
    assert spec["L"] == 9
    frame = "s + (L - 5) // 2 + j"
    assert spec["inputs"]["flow"]["shows"] == f"the motion from frame {frame} to frame {frame} + 1, j = 0 … 4"
    [flow] = [stream for stream in clips.streams if stream.made == "flow"]
    assert positions(flow, np.array([[7]]), clips.span, 99)[0, 0].tolist() == [[9 + j, 10 + j] for j in range(5)]


def test_numbers(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", "flow.length=2", "transform.size=32", "sampling.num_chunks=3"))
    spec = preprocessing(build_clips(run.cfg, ()), run.system)
    assert (spec["T"], spec["L"], spec["classes"]) == (3, 2, list(CLASSES))
    assert spec["inputs"]["flow"]["channels"] == ["u1", "v1", "u2", "v2"]
    assert spec["inputs"]["flow"]["shape"] == ["n", 3, 4, 32, 32]
    assert spec["inputs"]["flow"]["normalisation"] == {"done_by": "the network", "mean": [0.0], "std": [19.0]}
    assert spec["inputs"]["rgb"]["normalisation"]["std"] == [127.5, 127.5, 127.5]
    assert spec["flow"]["bound"] == 20.0
    assert spec["sampling"]["test_stride"] == 8


def test_noise_takes_every_value(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", "streams=flow", "transform.size=32"))
    inputs = random_inputs(build_clips(run.cfg, ()), 3)
    assert list(inputs) == ["flow"]
    assert (inputs["flow"].min(), inputs["flow"].max()) == (-127, 127)
    spec = preprocessing(build_clips(run.cfg, ()), run.system)
    assert list(spec["inputs"]) == ["flow"]
