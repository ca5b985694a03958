"""Small trees of empty files in the official layouts, for the tests beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from twostream.data.sources import Video


def touch(root: Path, names: Iterable[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def ids(videos: Iterable[Video]) -> list[str]:
    return [video.id for video in videos]


def groups(videos: Iterable[Video]) -> set[str]:
    return {video.group for video in videos}


def message(build: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the caller looks at the message
        build()
    return str(caught.value)


UCF_CLASSES = "1 HandstandPushups\n2 Biking\n3 YoYo\n"  # not sorted: the numbers are the order
UCF_TRAIN = [
    "HandstandPushups/v_HandStandPushups_g08_c01.avi 1",
    "Biking/v_Biking_g08_c01.avi 2",
    "Biking/v_Biking_g25_c07.avi 2",
    "YoYo/v_YoYo_g09_c02.avi 3",
]
UCF_TEST = ["HandstandPushups/v_HandStandPushups_g01_c01.avi", "YoYo/v_YoYo_g02_c01.avi"]


def write_ucf(root: Path, *, end: str = "\r\n", lists: str = "ucfTrainTestlist", videos: str = "UCF-101") -> Path:
    folder = root / lists
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("classInd.txt", UCF_CLASSES),
        ("trainlist01.txt", "\n".join(UCF_TRAIN) + "\n"),
        ("testlist01.txt", "\n".join(UCF_TEST) + "\n"),
    ):
        (folder / name).write_bytes(text.replace("\n", end).encode())
    touch(root / videos, [line.split()[0] for line in UCF_TRAIN + UCF_TEST])
    return root


NASTY = "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_climb_h_cm_np1_fr_goo_0.avi"
HMDB_LISTS = {
    "climb": (
        f"{NASTY} 1 \n#1_(a)&b;c~d@e+f-g_climb_f_cm_np1_le_med_1.avi 2 \nunused_climb_f_cm_np1_le_med_2.avi 0 \n"
    ),
    "climb_stairs": (
        "climb_climb_stairs_f_cm_np1_le_med_0.avi 1 \n"
        "tower_climb_stairs_f_cm_np1_le_med_0.avi 2 \ntower_climb_stairs_f_cm_np1_le_med_1.avi 2 \n"
    ),
    "wave": (
        "film_wave_f_nm_np1_fr_med_9.avi 1 \nfilm_wave_f_nm_np1_fr_med_10.avi 1 \nw_wave_f_nm_np1_fr_med_0.avi 2 "
    ),
}


def write_hmdb(root: Path, *, lists: str = "testTrainMulti_7030_splits", videos: str = "hmdb51") -> Path:
    (root / lists).mkdir(parents=True, exist_ok=True)
    for name in reversed(HMDB_LISTS):
        text = HMDB_LISTS[name]
        (root / lists / f"{name}_test_split1.txt").write_bytes(text.encode())
        touch(root / videos / name, [line.split()[0] for line in text.splitlines()])
    return root


def write_folder(root: Path) -> Path:
    """Two classes of 10 videos; b in 5 groups of 2."""
    touch(root, [f"a/{number}.mp4" for number in range(10)])
    touch(root, [f"b/clip_g{number // 2}_{number}.AVI" for number in range(10)])
    return root


def video(name: str, label: int, group: str) -> Video:
    return Video(id=name, path=Path(name), label=label, group=group)
