from __future__ import annotations

import inspect
import multiprocessing
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from twostream.data.flow import (
    DIS,
    TVL1,
    Farneback,
    OpticalFlow,
    dequantise,
    pin_threads,
    quantise,
)
from twostream.data.flow.opencv import PATCH, coarsest_level
from twostream.data.transform import Box, crop_flow, crop_rgb

OPTIONS = sorted((Path(__file__).parents[2] / "conf" / "flow").glob("*.yaml"))
every_option = pytest.mark.parametrize("option", OPTIONS, ids=lambda path: path.stem)
# raft needs weights to be any good; test_raft.py shows what can be shown without; motion vectors are not computed
ELSEWHERE = ("raft", "motion_vectors")
every_algorithm = pytest.mark.parametrize(
    "option", [path for path in OPTIONS if path.stem not in ELSEWHERE], ids=lambda path: path.stem
)
PRESETS = ("ultrafast", "fast", "medium")
HEIGHT, WIDTH = 72, 96
INSIDE = (slice(16, -16), slice(16, -16))  # nothing enters or leaves here
# how far the median may be from a known translation, in pixels
TOLERANCE = {"ultrafast": 0.2, "fast": 0.15, "medium": 0.06, "dis": 0.15, "farneback": 0.02, "tvl1": 0.06}


def texture_and_moved(right: float = 0.0, down: float = 0.0, *, blur: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random gray texture, and the same moved by an exact, possibly fractional, number of pixels."""
    y, x = np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH)[None]
    noise = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH))
    spectrum = np.fft.fft2(noise) * np.exp(-2 * (np.pi * blur) ** 2 * (x**2 + y**2))  # a Gaussian blur
    still = np.fft.ifft2(spectrum).real
    moved = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (right * x + down * y))).real
    scale = 50 / still.std()
    return tuple(np.rint(np.clip(128 + scale * frame, 0, 255)).astype(np.uint8) for frame in (still, moved))


def as_rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=-1)


def distance(field: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The end-point distance at every pixel, in pixels."""
    return np.linalg.norm(field - other, axis=-1)


class Counting(OpticalFlow):
    """Not a flow: returns the gray levels of both frames, and counts."""

    def compute(self, previous, following):
        self.calls = getattr(self, "calls", 0) + 1
        return np.stack([previous, following], axis=-1).astype(np.float32)


# ---------------------------------------------------------------- algorithms


@every_option
def test_option_lists_every_argument_and_builds(option):
    choice = OmegaConf.load(option)
    assert choice.pop("store") is None
    flow = instantiate(choice)
    target = get_class(choice.pop("_target_"))
    assert set(choice) == set(inspect.signature(target).parameters)
    assert (flow.length, flow.bound, flow.short_side) == (10, 20.0, None)


def build(option: Path) -> OpticalFlow:
    choice = OmegaConf.load(option)
    choice.pop("store")
    return instantiate(choice)


@every_algorithm
@pytest.mark.parametrize("moved", [(3.0, 0.0), (0.0, -2.0), (-2.5, 1.25), (0.3, 0.2)], ids=str)
def test_known_translation(option, moved):
    flow = build(option)
    field = flow.compute(*texture_and_moved(*moved))
    assert field.dtype == np.float32
    assert field.shape == (HEIGHT, WIDTH, 2)
    # (u right, v down)
    assert np.median(field[INSIDE], axis=(0, 1)) == pytest.approx(moved, abs=TOLERANCE.get(option.stem, 0.15))
    assert np.quantile(distance(field, np.float32(moved))[INSIDE], 0.95) < 0.33


@pytest.mark.parametrize("preset", PRESETS)
def test_known_translation_for_every_preset(preset):
    field = DIS(preset=preset).compute(*texture_and_moved(-2.5, 1.25))
    assert np.median(field[INSIDE], axis=(0, 1)) == pytest.approx((-2.5, 1.25), abs=TOLERANCE[preset])


@every_algorithm
def test_no_motion_is_no_flow(option):
    still, _ = texture_and_moved()
    field = build(option).compute(still, still)
    assert np.abs(field[INSIDE]).max() < 0.01


@every_algorithm
def test_flow_of_mirrored_transposed_and_resized_frames(option):
    flow = build(option)
    still, moved = texture_and_moved(2.5, -1.0, blur=3.0)
    field = flow.compute(still, moved)

    mirrored = flow.compute(still[:, ::-1].copy(), moved[:, ::-1].copy())
    assert distance(mirrored, field[:, ::-1] * np.float32([-1, 1]))[INSIDE].mean() < 0.1
    assert distance(mirrored, field[:, ::-1])[INSIDE].mean() > 4.5  # u not negated: wrong by 2 · 2.5

    transposed = flow.compute(still.T.copy(), moved.T.copy())
    assert distance(transposed, field.transpose(1, 0, 2)[..., ::-1])[INSIDE].mean() < 0.1

    box, size = Box(0.0, 0.0, 1.0, 1.0), (HEIGHT * 3 // 2, WIDTH * 3 // 4)
    resized = [crop_rgb(as_rgb(frame)[None], box, size)[0, 0].copy() for frame in (still, moved)]
    expected = crop_flow(field[None], box, size)[0].transpose(1, 2, 0)
    assert np.median(expected, axis=(0, 1)) == pytest.approx((1.875, -1.5), abs=0.25)
    assert np.median(distance(flow.compute(*resized), expected)[INSIDE]) < 0.25


@every_algorithm
def test_flow_depends_on_the_two_frames_alone(option):
    flow, (still, moved) = build(option), texture_and_moved(2.0, 1.0)
    first = flow.compute(still, moved)
    flow.compute(moved, still)
    threads = cv2.getNumThreads()
    try:
        for count in (1, 4):
            cv2.setNumThreads(count)
            assert np.array_equal(flow.compute(still, moved), first), count
    finally:
        cv2.setNumThreads(threads)


@every_algorithm
def test_small_frames_change_nothing_for_later_ones(option):
    """OpenCV's DIS and TV-L1 lower their number of pyramid levels for a small frame, and for all that follow."""
    flow, frames = build(option), texture_and_moved(2.0, 1.0)
    first = flow.compute(*frames)
    for height, width in ((16, 16), (40, 30), (17, WIDTH), (HEIGHT, 17)):
        flow.compute(*(np.ascontiguousarray(frame[:height, :width]) for frame in frames))
        assert np.array_equal(flow.compute(*frames), first), (height, width)


@pytest.mark.parametrize("preset", PRESETS)
def test_dis_begins_where_opencv_says_and_ends_no_coarser_than_that(preset):
    rng = np.random.default_rng(0)
    for height, width in [(16, 16), (16, 200), (24, 100), (45, 45), (46, 31), (64, 64), (90, 90), (91, 32), (31, 91)]:
        level = coarsest_level(height, width)
        frames = [rng.integers(0, 256, (height, width)).astype(np.uint8) for _ in range(2)]
        algorithm = DIS(preset=preset)._create(height, width)
        finest = algorithm.getFinestScale()
        assert finest == min(level, {"ultrafast": 2, "fast": 2, "medium": 1}[preset])
        field = algorithm.calc(*frames, None)
        assert (algorithm.getFinestScale(), algorithm.getPatchSize()) == (finest, PATCH)  # OpenCV has found it possible
        if hasattr(algorithm, "setCoarsestScale"):
            algorithm.setCoarsestScale(level)  # what it has chosen by itself
            assert np.array_equal(algorithm.calc(*frames, None), field), (height, width)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: DIS(preset="slow"), r"flow\.preset='slow'.*choose from ultrafast, fast, medium"),
        (lambda: DIS(length=0), r"flow\.length=0"),
        (lambda: DIS(bound=0.0), r"flow\.bound=0"),
        (lambda: DIS(short_side=15), r"flow\.short_side=15"),
        (lambda: Farneback(scale=1.0), r"flow\.scale=1\.0"),
        (lambda: Farneback(neighbourhood=6), r"flow\.neighbourhood=6.*choose from 5, 7"),
        (lambda: Farneback(levels=0), r"flow\.levels=0"),
        (lambda: TVL1(median=2), r"flow\.median=2.*choose from 1, 3, 5"),
        (lambda: DIS().fields({0: np.zeros((8, 99, 3), np.uint8)}, [(0, 0)]), "8x99"),
    ],
)
def test_wrong_values_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()


# ---------------------------------------------------------------- processes


def in_a_worker(method: str, flow: OpticalFlow, frames: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    with multiprocessing.get_context(method).Pool(1, initializer=pin_threads) as pool:
        assert pool.apply(cv2.getNumThreads) == 1
        return pool.apply_async(flow.compute, frames).get(timeout=200)  # a deadlock fails, it does not hang


@every_algorithm
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_forked_workers_compute_what_the_parent_computes(option):
    flow, frames = build(option), texture_and_moved(2.0, 1.0)
    expected = flow.compute(*frames)  # the parent's OpenCV object exists before the worker does
    assert np.array_equal(in_a_worker("fork", flow, frames), expected)


@pytest.mark.long
def test_spawned_workers_compute_what_the_parent_computes():
    flow, frames = DIS(), texture_and_moved(2.0, 1.0)
    expected = flow.compute(*frames)
    assert np.array_equal(in_a_worker("spawn", flow, frames), expected)


def test_a_pickled_flow_keeps_its_options():
    flow = DIS(preset="medium", length=5)
    flow.compute(*texture_and_moved())
    copy = pickle.loads(pickle.dumps(flow))
    assert copy.settings() == flow.settings()
    assert copy.length == 5


# ---------------------------------------------------------------- fields


def test_every_pair_and_every_gray_conversion_once(monkeypatch):
    converted = []

    def convert(frame, code):
        converted.append(int(frame[0, 0, 0]))
        return frame[..., 0].copy()

    monkeypatch.setattr("cv2.cvtColor", convert)
    flow = Counting(length=3)
    frames = {i: np.full((16, 20, 3), i, np.uint8) for i in range(9)}
    stacks = [[(0, 1), (1, 2), (2, 3)], [(1, 2), (2, 3), (3, 4)], [(7, 8), (8, 8), (8, 8)]]
    fields = flow.fields(frames, np.array(stacks).reshape(-1, 2))
    assert set(fields) == {(0, 1), (1, 2), (2, 3), (3, 4), (7, 8), (8, 8)}
    assert flow.calls == 5  # not (8, 8)
    assert converted == [0, 1, 2, 3, 4, 7, 8]  # neither 5 and 6 nor one twice
    assert fields[2, 3][0, 0].tolist() == [2, 3]
    assert fields[8, 8].shape == (16, 20, 2)
    assert fields[8, 8].dtype == np.float32
    assert not fields[8, 8].any()


def test_fields_read_rgb_not_bgr():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    assert Counting().fields({0: red, 1: red}, [(0, 1)])[0, 1][0, 0].tolist() == [76, 76]  # .299 · 255


@pytest.mark.parametrize(
    ("short_side", "expected"), [(None, (240, 320)), (120, (120, 160)), (256, (256, 341)), (100, (100, 133))]
)
def test_working_size(short_side, expected):
    flow = Counting(short_side=short_side)
    assert flow.working_size(240, 320) == expected
    assert flow.working_size(320, 240) == expected[::-1]
    frames = {0: np.zeros((240, 320, 3), np.uint8), 1: np.zeros((240, 320, 3), np.uint8)}
    fields = flow.fields(frames, [(0, 1), (1, 1)])
    assert {field.shape for field in fields.values()} == {(*expected, 2)}


def test_working_resolution_gives_its_own_pixels_and_the_crop_rescales_them():
    still, moved = (as_rgb(frame) for frame in texture_and_moved(4.0, -2.0, blur=3.0))
    field = DIS(preset="medium", short_side=HEIGHT // 2).fields({5: still, 6: moved}, [(5, 6)])[5, 6]
    assert field.shape == (HEIGHT // 2, WIDTH // 2, 2)
    assert np.median(field, axis=(0, 1)) == pytest.approx((2.0, -1.0), abs=0.1)
    cropped = crop_flow(field[None], Box(0.25, 0.25, 0.5, 0.5), (HEIGHT // 2, WIDTH))  # the middle, twice as wide
    assert np.median(cropped[0], axis=(1, 2)) == pytest.approx((8.0, -2.0), abs=0.2)


# ---------------------------------------------------------------- levels


def test_quantise_known_levels():
    pixels = np.float32([-25, -20, -10, -0.08, -0.07, 0, 0.07, 0.08, 10, 19.93, 20, 25])
    assert quantise(pixels, 20.0).tolist() == [-127, -127, -64, -1, 0, 0, 0, 1, 64, 127, 127, 127]
    assert quantise(pixels, 10.0).tolist() == [-127, -127, -127, -1, -1, 0, 1, 1, 127, 127, 127, 127]


def test_quantise_is_the_papers_image_to_one_level():
    pixels = np.linspace(-20, 20, 4001, dtype=np.float32)
    image = np.rint(255 * (pixels + 20) / 40)
    ours = quantise(pixels, 20.0).astype(int) + 128
    assert np.abs(ours - image).max() == 1
    assert [ours[0], ours[2000], ours[-1]] == [1, 128, 255]
    assert [image[0], image[2000], image[-1]] == [0, 128, 255]


def test_dequantise_is_within_half_a_level_and_keeps_every_level():
    pixels = np.random.default_rng(0).uniform(-20, 20, (3, 2, 16, 16)).astype(np.float32)
    assert np.abs(dequantise(quantise(pixels, 20.0), 20.0) - pixels).max() <= 20 / 254 + 1e-5
    levels = np.arange(-127, 128, dtype=np.int8)
    for bound in (20.0, 7.3, 1.0):
        assert np.array_equal(quantise(dequantise(levels, bound), bound), levels)


# ---------------------------------------------------------------- real clips


@pytest.fixture(scope="module", params=["Biking/v_Biking_g01_c04", "Punch/v_Punch_g03_c01", "YoYo/v_YoYo_g11_c02"])
def real_frames(request, real_data) -> np.ndarray:
    """Nine consecutive frames of a real clip with much motion."""
    from twostream.data.decoding import read_frames

    return read_frames(real_data / "UCF-101" / f"{request.param}.avi", range(20, 29))


def consecutive_fields(flow: OpticalFlow, frames: np.ndarray) -> np.ndarray:
    pairs = [(i, i + 1) for i in range(len(frames) - 1)]
    fields = flow.fields(dict(enumerate(np.ascontiguousarray(frames))), pairs)
    return np.stack([fields[pair] for pair in pairs])


@pytest.mark.parametrize("preset", PRESETS)
def test_real_flow_of_transformed_frames_is_the_transformed_flow(real_frames, preset):
    flow = DIS(preset=preset)
    fields = consecutive_fields(flow, real_frames)
    typical = np.median(np.linalg.norm(fields, axis=-1))
    assert typical > 2  # pixels per frame

    mirrored = consecutive_fields(flow, real_frames[:, :, ::-1])
    right = np.median(distance(mirrored, fields[..., ::-1, :] * np.float32([-1, 1])))
    assert right < 0.1 * typical
    assert right < np.median(distance(mirrored, fields[:, :, ::-1])) / 8  # u not negated

    box = Box(0.125, 0.25, 0.75, 0.5, flip=True)  # 180 x 160 of 240 x 320 pixels, to 224 x 224, mirrored
    cropped = consecutive_fields(flow, crop_rgb(real_frames, box, 224).transpose(0, 2, 3, 1))
    expected = crop_flow(fields, box, 224).transpose(0, 2, 3, 1)
    unscaled, not_negated = expected * np.float32([160 / 224, 180 / 224]), expected * np.float32([-1, 1])
    right = np.median(distance(cropped, expected))
    assert right < 0.2 * np.median(np.linalg.norm(expected, axis=-1))
    assert right < 0.65 * np.median(distance(cropped, unscaled))
    assert right < np.median(distance(cropped, not_negated)) / 3
