from __future__ import annotations

import inspect
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from twostream.data.colour import ColourJitter
from twostream.data.flow import dequantise, quantise
from twostream.data.transform import (
    Box,
    CentreCrop,
    JitterCrop,
    MultiScaleCrop,
    crop_computed,
    crop_flow,
    crop_rgb,
    crop_stored,
)

OPTIONS = sorted((Path(__file__).parents[2] / "conf" / "transform").glob("*.yaml"))
every_option = pytest.mark.parametrize("option", OPTIONS, ids=lambda path: path.stem)
WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pixels(box: Box, height: int = 240, width: int = 320) -> tuple[int, int, int, int]:
    """Top, left, height and width of the box in pixels."""
    rows, columns = box.pixels(height, width)
    return rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start


def boxes_of(transform, count: int, height: int = 240, width: int = 320) -> np.ndarray:
    generator = rng()
    return np.array([pixels(transform.random(height, width, generator)[0], height, width) for _ in range(count)])


class Drawn(np.random.Generator):
    """A generator whose draws are written down beforehand."""

    def __init__(self, *draws):
        super().__init__(np.random.PCG64())
        self.draws = list(draws)

    def _next(self, *_args, **_keywords):
        return np.array(self.draws.pop(0)) if isinstance(self.draws[0], list) else self.draws.pop(0)

    uniform = random = integers = _next


# ---------------------------------------------------------------- options


@every_option
def test_option_lists_every_argument_and_builds(option):
    choice = OmegaConf.load(option)
    target = get_class(choice.pop("_target_"))
    assert set(choice) == set(inspect.signature(target).parameters)
    transform = instantiate(OmegaConf.load(option))
    assert transform.size == 224
    assert transform.colour == ColourJitter()  # off by default


@every_option
@pytest.mark.parametrize("test", ["centre", "full", "five", "ten"])
@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (64, 64), (241, 321), (1, 7)])
def test_boxes_lie_within_any_frame_and_keep_their_pixels(option, test, height, width):
    transform, generator = instantiate(OmegaConf.load(option), test=test), rng()
    boxes = [box for _ in range(50) for box in transform.random(height, width, generator)]
    assert len(boxes) == 50
    for box in boxes + transform.fixed(height, width):
        top, left, rows, columns = pixels(box, height, width)
        assert min(top, left) >= 0
        assert min(rows, columns) >= 1
        assert top + rows <= height
        assert left + columns <= width
        fractions = (top / height, left / width, rows / height, columns / width)
        assert box[:4] == pytest.approx(fractions, abs=1e-12)  # whole pixels of the frame it was drawn for


@every_option
def test_same_rng_same_draw_and_others_differ(option):
    transform = instantiate(OmegaConf.load(option))
    first, again = ([transform.random(240, 320, generator) for _ in range(20)] for generator in (rng(1), rng(1)))
    assert first == again
    if option.stem != "none":
        assert first != [transform.random(240, 320, generator) for generator in [rng(2)] for _ in range(20)]


@every_option
def test_flip_has_its_probability(option):
    generator = rng()
    chosen = OmegaConf.load(option)
    transforms = {p: instantiate(chosen, flip=p) for p in (0.0, 0.3, 1.0)}
    flips = {
        p: np.mean([transform.random(240, 320, generator)[0].flip for _ in range(1000)])
        for p, transform in transforms.items()
    }
    assert flips[0.0] == 0
    assert flips[0.3] == pytest.approx(0.3, abs=0.06)
    assert flips[1.0] == 1
    assert chosen.flip == (0.0 if option.stem == "none" else 0.5)


# ---------------------------------------------------------------- the paper's jitter


def test_jitter_crop_by_hand():
    # frame 240 x 320: nominal 210; sides 210 · 0.8 = 168 and 210 · 1.25 = 262 (262.5 to even);
    # room 72 and 58: a tenth from the bottom: .9 · 72 = 64.8; a fifth from the left: .2 · 58 = 11.6
    transform = JitterCrop(size=224, flip=0.5)
    [box] = transform.random(240, 320, Drawn([0.8, 1.25], [0.1, 0.2], [0.4, 0.6], 0.49))
    assert pixels(box) == (65, 12, 168, 262)
    assert box.flip
    # 1.25 · 210 is higher than the frame: the whole height, no room
    [box] = transform.random(240, 320, Drawn([1.25, 0.75], [0.25, 0.0], [0.4, 0.4], 0.5))
    assert pixels(box) == (0, 160 + 2, 240, 158)  # 157.5 to even; all 162 of the room, from the right
    assert not box.flip


def test_jitter_crop_stays_within_its_bounds_and_reaches_them():
    top, left, rows, columns = boxes_of(JitterCrop(), 4000).T
    assert (rows.min(), rows.max()) == (158, 240)  # 210 · .75 to min(210 · 1.25, frame)
    assert columns.min() == 158
    assert columns.max() in (261, 262)
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.05  # independent
    assert columns.mean() == pytest.approx(210, abs=2)
    for offset, room in ((top, 240 - rows), (left, 320 - columns)):
        near = np.minimum(offset, room - offset)
        assert np.all(near <= 0.25 * room + 0.5)  # whole pixels
        assert np.mean(offset[room > 8] < room[room > 8] / 2) == pytest.approx(0.5, abs=0.04)
    assert np.mean(rows == 240) == pytest.approx((1.25 - 240 / 210) / 0.5, abs=0.03)


def test_jitter_crop_is_the_same_part_of_a_frame_of_any_size():
    small, large = (JitterCrop().random(240 * k, 320 * k, rng(7))[0] for k in (1, 8))
    assert small == pytest.approx(large, abs=1 / 240)


def test_jitter_crop_in_corners_and_centre():
    top, left, rows, columns = boxes_of(JitterCrop(position="corners"), 500).T
    y, x = top / np.maximum(1, 240 - rows), left / (320 - columns)
    roomy = rows < 200
    seen = {(round(2 * a), round(2 * b)) for a, b in zip(y[roomy], x[roomy], strict=True)}
    assert seen == {(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)}


# ---------------------------------------------------------------- TSN's multi-scale crop


def test_multi_scale_crop_draws_the_ten_neighbouring_pairs_of_sides():
    drawn = boxes_of(MultiScaleCrop(), 4000)
    pairs, counts = np.unique(drawn[:, 2:], axis=0, return_counts=True)
    sides = [240, 210, 180, 158]  # 1, .875, .75, .66 of 240
    expected = {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert len(expected) == 10
    assert counts.min() > 320  # 400 ± 19 expected
    assert len({tuple(pair) for pair in boxes_of(MultiScaleCrop(max_distort=3), 1000)[:, 2:].tolist()}) == 16


@pytest.mark.parametrize(("more", "count"), [(False, 5), (True, 13)])
def test_multi_scale_crop_positions(more, count):
    drawn = boxes_of(MultiScaleCrop(scales=[0.75], more_positions=more), 1000)  # 180: room 60 and 140
    seen = {(top, left) for top, left in drawn[:, :2].tolist()}
    corners_and_centre = {(0, 0), (0, 140), (60, 0), (60, 140), (30, 70)}
    assert len(seen) == count
    assert seen >= corners_and_centre
    if more:
        edges = {(0, 70), (30, 0), (30, 140), (60, 70)}
        assert seen - corners_and_centre == edges | {(15, 35), (15, 105), (45, 35), (45, 105)}


# ---------------------------------------------------------------- centre and test views


def test_centre_crop_is_224_of_256_in_the_middle():
    [box] = CentreCrop().random(240, 320, rng())
    assert pixels(box) == (15, 55, 210, 210)
    assert not box.flip
    assert pixels(CentreCrop().random(256, 340, rng())[0], 256, 340) == (16, 58, 224, 224)


def test_whole_square_frame():
    assert CentreCrop(size=64, crop_fraction=1.0).random(64, 64, rng()) == [WHOLE]


def test_test_crops_by_hand():
    def views(**options):
        return [(*pixels(box), box.flip) for box in CentreCrop(**options).fixed(240, 320)]

    centre = (15, 55, 210, 210)
    corners = [(0, 0, 210, 210), (0, 110, 210, 210), (30, 0, 210, 210), (30, 110, 210, 210)]
    five = [*corners, centre]
    assert views() == [(*centre, False)]
    assert views(test_flip=True) == [(*centre, False), (*centre, True)]
    assert views(test="full") == [(0, 0, 240, 320, False)]
    assert views(test="five") == [(*box, False) for box in five]
    assert views(test="ten") == [(*box, flip) for flip in (False, True) for box in five]
    assert views(test="ten", test_flip=True) == views(test="five", test_flip=True) == views(test="ten")


def test_test_views_are_square_but_for_whole_frames():
    assert CentreCrop(size=112, test="ten").fixed_size(240, 320) == (112, 112)
    assert CentreCrop(size=224, test="full").fixed_size(240, 320) == (256, 341)  # short side 224 / .875
    assert CentreCrop(size=224, test="full").fixed_size(432, 240) == (461, 256)
    assert CentreCrop(size=64, test="full", crop_fraction=1.0).fixed_size(64, 64) == (64, 64)


@every_option
def test_test_views_do_not_depend_on_chance(option):
    transform = instantiate(OmegaConf.load(option))
    assert transform.fixed(240, 320) == transform.fixed(240, 320)


# ---------------------------------------------------------------- cutting


def test_crop_rgb_without_resizing_is_a_slice():
    frames = rng().integers(0, 256, (3, 12, 16, 3), np.uint8)
    box = Box(2 / 12, 4 / 16, 8 / 12, 8 / 16)
    plain = crop_rgb(frames, box, 8)
    assert plain.dtype == np.uint8
    assert np.array_equal(plain, frames[:, 2:10, 4:12].transpose(0, 3, 1, 2))
    assert np.array_equal(crop_rgb(frames, box._replace(flip=True), 8), plain[..., ::-1])
    assert np.array_equal(crop_rgb(list(frames), box, 8), plain)


def test_crop_rgb_averages_when_it_shrinks_and_interpolates_when_it_grows():
    frame = np.zeros((4, 8, 3), np.uint8)
    frame[0, :4, 1] = [10, 20, 30, 40]
    frame[1, :4, 1] = [30, 40, 50, 60]
    small = crop_rgb([frame], WHOLE, (2, 4))
    assert small.shape == (1, 3, 2, 4)
    assert small[0, 1].tolist() == [[25, 45, 0, 0], [0, 0, 0, 0]]  # means of 2 x 2
    assert not small[0, [0, 2]].any()
    # 10 20 -> four pixels at positions -.25, .25, .75, 1.25 of the two: 10, 12.5, 17.5, 20
    large = crop_rgb([frame], Box(0.0, 0.0, 0.25, 0.25), (1, 4))
    assert large[0, 1, 0].tolist() in ([10, 12, 18, 20], [10, 13, 18, 20])


def test_crop_flow_scales_displacements_by_axis_and_negates_u_in_a_mirror():
    fields = np.zeros((2, 240, 320, 2), np.float32)
    fields[..., 0], fields[..., 1] = 8.0, -3.0
    box = Box(0.25, 0.5, 0.5, 0.25)  # 120 x 80 pixels
    cropped = crop_flow(fields, box, 160)
    assert cropped.shape == (2, 2, 160, 160)
    assert cropped.dtype == np.float32
    assert np.all(cropped[:, 0] == 16.0)  # 8 · 160 / 80
    assert np.all(cropped[:, 1] == -4.0)  # -3 · 160 / 120
    mirrored = crop_flow(fields, box._replace(flip=True), 160)
    assert np.all(mirrored[:, 0] == -16.0)
    assert np.all(mirrored[:, 1] == -4.0)
    narrow = crop_flow(list(fields), box, (60, 20))
    assert narrow.shape == (2, 2, 60, 20)
    assert np.all(narrow[:, 0] == 2.0)
    assert np.all(narrow[:, 1] == -1.5)


def test_crop_flow_flip_mirrors_both_and_changes_the_sign_of_u_alone():
    fields = rng().normal(scale=5, size=(3, 30, 40, 2)).astype(np.float32)
    box = Box(0.1, 0.2, 0.7, 0.6)
    plain, mirrored = (crop_flow(fields, box._replace(flip=flip), 16) for flip in (False, True))
    assert np.array_equal(mirrored[:, 0], -plain[:, 0, :, ::-1])
    assert np.array_equal(mirrored[:, 1], plain[:, 1, :, ::-1])
    unresized = crop_flow(fields, WHOLE._replace(flip=True), (30, 40)).transpose(0, 2, 3, 1)
    twice = crop_flow(unresized, WHOLE._replace(flip=True), (30, 40))
    assert np.array_equal(twice, fields.transpose(0, 3, 1, 2))  # flipping twice restores


def weights(length: int, size: int, *, area: bool) -> np.ndarray:
    """How resizing from `length` to `size` pixels weighs each: bilinear, or by the part of a new pixel it covers."""
    step = length / size
    starts = np.arange(size)[:, None] * step
    pixels = np.arange(length)
    if area:
        covered = np.minimum(starts + step, pixels + 1) - np.maximum(starts, pixels)
        return np.clip(covered, 0, None) / step
    centres = np.clip(starts + step / 2 - 0.5, 0, length - 1)
    return np.clip(1 - np.abs(pixels - centres), 0, None)


def exact_levels(levels: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """The levels of a cropped field before they are rounded, in float64 and by matrices."""
    top, left, rows, columns = pixels(box, *levels.shape[1:])
    part = levels[:, top : top + rows, left : left + columns].astype(np.float64)
    area = rows > size[0] and columns > size[1]
    resized = weights(rows, size[0], area=area) @ part @ weights(columns, size[1], area=area).T
    resized *= np.array([size[1] / columns, size[0] / rows])[:, None, None]
    if box.flip:
        resized = resized[..., ::-1] * np.array([-1, 1])[:, None, None]
    return np.clip(resized, -127, 127)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((240, 320), (224, 224)), ((240, 320), (96, 131)), ((60, 80), (224, 224)), ((37, 51), (40, 30))],
    ids=["frames of UCF101", "smaller", "a short side of 60", "larger in one direction alone"],
)
@pytest.mark.parametrize("flip", [False, True])
def test_a_stored_field_is_cropped_to_the_level_next_to_the_exact_one(shape, size, flip):
    generator = rng()
    smooth = cv2.GaussianBlur(generator.normal(size=(*shape, 2)), (0, 0), 4).transpose(2, 0, 1)
    levels = np.clip(np.rint(smooth * 50 / smooth.std()), -127, 127).astype(np.int8)
    assert levels.min() == -127  # clipped, as the faster motion after enlarging will be
    errors, others, moved = [], [], 0
    for _ in range(5):
        [box] = JitterCrop(size=size[0], flip=float(flip)).random(*shape, generator)
        exact, found = exact_levels(levels, box, size), crop_stored(levels, box, size)
        errors.append(found - exact)
        computed = crop_computed(dequantise(levels, 20.0).transpose(1, 2, 0), box, size, 20.0)
        others.append(np.abs(computed.astype(int) - found))
        moved += (found != 0).mean()
    assert moved > 4
    assert np.abs(errors).max() <= 0.5 + 1e-3  # rounding alone
    assert abs(np.mean(errors)) < 0.005  # to both sides
    assert np.max(others) <= 1
    assert np.mean(others) < 0.01  # ties


def test_a_stored_field_is_clipped_after_resizing_and_unchanged_without():
    levels = np.full((2, 10, 10), 100, np.int8)
    levels[:, :, 5:] = -120
    assert np.array_equal(crop_stored(levels, WHOLE, 10), levels)
    twice = crop_stored(levels, Box(0.0, 0.0, 0.5, 1.0), (10, 20))  # each pixel becomes four, twice as fast
    assert twice.shape == (2, 10, 20)
    assert twice[0, 0].tolist() == [127] * 9 + [90, -127] + [-127] * 9  # 90 = 2 · (3 · 100 - 120) / 4
    mirrored = crop_stored(levels, Box(0.0, 0.0, 0.5, 1.0, flip=True), (10, 20))
    assert np.array_equal(mirrored[0], -twice[0, :, ::-1])
    assert np.array_equal(mirrored[1], twice[1, :, ::-1])


def test_a_computed_field_is_cropped_and_then_quantised():
    field = rng().normal(scale=8, size=(30, 40, 2)).astype(np.float32)
    box = Box(0.1, 0.2, 0.7, 0.6, flip=True)
    assert np.array_equal(crop_computed(field, box, (20, 50), 9.0), quantise(crop_flow([field], box, (20, 50))[0], 9.0))


def test_crop_flow_moves_pixels_to_where_crop_rgb_shows_them():
    # a point at (x, y) = (100, 80) moves to (112, 77); the crop is enlarged 2 and 1.5 times, and mirrored
    before, after = np.zeros((2, 240, 320, 3), np.uint8)
    before[79:82, 99:102] = 255
    after[76:79, 111:114] = 255
    field = np.broadcast_to(np.float32([12, -3]), (240, 320, 2)).copy()
    box, size = Box(60 / 240, 80 / 320, 80 / 240, 60 / 320, flip=True), (120, 120)

    def centre(frame: np.ndarray) -> np.ndarray:
        y, x = np.indices(size)
        weight = crop_rgb([frame], box, size)[0, 0].astype(float)
        return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()

    u, v = crop_flow([field], box, size)[0, :, 60, 60]
    assert (u, v) == (-24.0, -4.5)
    assert centre(after) - centre(before) == pytest.approx((u, v), abs=0.05)


@pytest.mark.parametrize("flip", [False, True])
def test_both_streams_show_the_same_part_at_different_resolutions(flip):
    # every pixel says where it is: in RGB at 240 x 320 as grey level, in flow at 120 x 160 as displacement
    x = np.broadcast_to(np.linspace(0, 255, 320), (240, 320))
    rgb = np.repeat(np.rint(x)[..., None], 3, axis=-1).astype(np.uint8)
    coarse = x.reshape(120, 2, 160, 2).mean(axis=(1, 3)).astype(np.float32)
    field = np.stack([coarse, coarse], axis=-1)
    generator = rng()
    for _ in range(20):
        [box] = JitterCrop(size=112, flip=float(flip)).random(240, 320, generator)
        shown = crop_rgb([rgb], box, 112)[0, 0].astype(float)
        moving = crop_flow([field], box, 112)[0, 1] * pixels(box, 120, 160)[2] / 112  # v, unscaled
        assert np.abs(shown - moving).max() < 1.5 * 255 / 160  # a pixel of the coarse field is 1.6 levels


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: CentreCrop(test="corner"), r"transform\.test='corner'.*choose from centre, full, five, ten"),
        (lambda: CentreCrop(size=0), r"transform\.size=0"),
        (lambda: CentreCrop(crop_fraction=0.0), r"transform\.crop_fraction=0"),
        (lambda: CentreCrop(crop_fraction=1.2), r"transform\.crop_fraction=1\.2"),
        (lambda: CentreCrop(flip=2.0), r"transform\.flip=2"),
        (
            lambda: JitterCrop(position="middle"),
            r"transform\.position='middle'.*choose from borders, corners",
        ),
        (lambda: JitterCrop(jitter=-0.1), r"transform\.jitter=-0\.1"),
        (lambda: MultiScaleCrop(scales=[]), r"transform\.scales=\[\]"),
        (lambda: MultiScaleCrop(scales=[1.5]), r"transform\.scales=1\.5"),
        (lambda: MultiScaleCrop(max_distort=-1), "max_distort=-1"),
    ],
)
def test_wrong_values_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()
