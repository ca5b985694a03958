"""Imported flow: each file in its place, each grey value at its displacement."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest

from twostream.data.flow import DIS, dequantise
from twostream.data.sources.moving_patterns import MovingPatterns
from twostream.data.storage.flow_store import FlowStore, FlowStoreError, FromJPEGs, StoreClip, make_store
from twostream.data.storage.flow_store.jpeg_folders import levels_of

FLOW = DIS()
NAMES = {
    "denseflow": ("flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg", 0),
    "tsn": ("flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg", 1),
    "tsn old": ("x_{:05d}.jpg", "y_{:05d}.jpg", 1),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> MovingPatterns:
    return MovingPatterns(tmp_path_factory.mktemp("cache"), split=1, train_clips=16, test_clips=16)


def write(folder: Path, naming: str, count: int = 11, size: tuple[int, int] = (64, 64)) -> Path:
    """Field i: u has grey value 20 · i, v has 255 - 20 · i everywhere, which JPEG keeps."""
    x, y, first = NAMES[naming]
    folder.mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(folder / x.format(first + i)), np.full(size, 20 * i, np.uint8))
        cv2.imwrite(str(folder / y.format(first + i)), np.full(size, 255 - 20 * i, np.uint8))
    return folder


def stored(source, folder: Path, naming: str, root: Path):
    make_store(root, FLOW, encoding="png", origin=naming)
    return StoreClip(root, FromJPEGs(folder, naming, FLOW, "decord"))(source.train[0])


@pytest.mark.parametrize("naming", NAMES)
@pytest.mark.parametrize("nested", [True, False])
def test_every_field_is_found_at_its_place(source, tmp_path: Path, naming: str, nested: bool) -> None:
    video = source.train[0]
    name = PurePosixPath(video.id).with_suffix("")
    write(tmp_path / "jpegs" / (name if nested else name.name), naming)
    assert stored(source, tmp_path / "jpegs", naming.split()[0], tmp_path / "store")[:2] == ("computed", 11)
    store = FlowStore(tmp_path / "store", FLOW)
    assert (store.count(video), store.frame_size(video)) == (12, (64, 64))
    levels = store.levels(video, [(i, i + 1) for i in range(11)])
    for i in range(11):  # v / 255 · 2 - 1 of 20 pixels, to within half a level
        u, v = dequantise(levels[i, :, 5, 5], 20.0)
        assert u == pytest.approx((20 * i / 255 * 2 - 1) * 20, abs=20 / 254 + 1e-5)
        assert v == pytest.approx(-u, abs=1e-5)


def test_their_grid_has_no_zero_and_ours_has() -> None:
    levels = levels_of(np.arange(256, dtype=np.uint8))
    assert levels[[0, 1, 126, 127, 128, 129, 255]].tolist() == [-127, -126, -1, 0, 0, 1, 127]
    assert np.array_equal(levels, -levels[::-1])


def test_one_file_too_many_is_left_out_and_one_missing_is_named(source, tmp_path: Path) -> None:
    name = PurePosixPath(source.train[0].id).with_suffix("").name
    write(tmp_path / "more" / name, "tsn", 12)
    assert stored(source, tmp_path / "more", "tsn", tmp_path / "a").items == 11
    write(tmp_path / "less" / name, "tsn", 10)
    with pytest.raises(ValueError, match=r"holds 10 fields, but .* has 12 frames"):
        stored(source, tmp_path / "less", "tsn", tmp_path / "b")
    (write(tmp_path / "gap" / name, "tsn") / "flow_y_00004.jpg").unlink()
    with pytest.raises(ValueError, match="no y file with number 4"):
        stored(source, tmp_path / "gap", "tsn", tmp_path / "c")
    write(tmp_path / "large" / name, "tsn", size=(100, 120))
    with pytest.raises(ValueError, match=r"is 100x120 .* flow.short_side=None means a short side of 64"):
        stored(source, tmp_path / "large", "tsn", tmp_path / "d")
    write(tmp_path / "other" / name, "denseflow")
    with pytest.raises(ValueError, match="no x file with number 11"):
        stored(source, tmp_path / "other", "tsn", tmp_path / "e")
    with pytest.raises(ValueError, match="no folder"):
        stored(source, tmp_path, "tsn", tmp_path / "f")
    with pytest.raises(ValueError, match="naming='mmaction': choose from denseflow, tsn"):
        FromJPEGs(tmp_path, "mmaction", FLOW, "decord")
    for root in "bcdef":
        assert [path.name for path in (tmp_path / root).rglob("*") if path.is_file()] == ["manifest.json"]


def test_computed_and_imported_fields_do_not_mix(tmp_path: Path) -> None:
    make_store(tmp_path, FLOW, origin="tsn")
    with pytest.raises(FlowStoreError, match="choose another folder"):
        make_store(tmp_path, FLOW)
