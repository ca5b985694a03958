"""`twostream prepare` as a whole: what it says, what it leaves behind, and that it does nothing twice."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from archive_files import write_zip
from small_videos import write_video

from twostream.cli import main
from twostream.data.decoding import read_frames
from twostream.data.prepare import Wishes, Workers, copies, prepare
from twostream.data.prepare.catalogue import HMDB51, UCF101
from twostream.data.prepare.prepare import split_lines
from twostream.data.sources import Folder, hmdb51, ucf101
from twostream.data.storage.index import VideoIndex
from twostream.data.storage.packed import Packed
from twostream.data.tasks import Outcome

UCF = [
    "YoYo/v_YoYo_g01_c01.avi",
    "YoYo/v_YoYo_g09_c02.avi",
    "Biking/v_Biking_g08_c01.avi",
    "Biking/v_Biking_g22_c01.avi",
]


def in_this_process(function, items, *, workers, engine="local", address=None) -> Iterator[Outcome]:
    """Like `run_tasks`, which starts processes; tested elsewhere."""
    for item in items:
        try:
            yield Outcome(item, function(item))
        except Exception as error:
            yield Outcome(item, error=f"{type(error).__name__}: {error}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twostream.data.storage.index.run_tasks", in_this_process)
    monkeypatch.setattr("twostream.data.prepare.copies.run_tasks", in_this_process)


@pytest.fixture
def ucf(tmp_path: Path, quick) -> Path:
    """Four videos of 4 to 7 frames in the official layout, without lists."""
    for number, name in enumerate(UCF):
        write_video(tmp_path / "UCF-101" / name, 4 + number)
    return tmp_path


def run(name: str, root: Path, capsys, **wishes) -> tuple[int, list[str]]:
    """(broken videos, the lines that were printed)."""
    capsys.readouterr()
    broken = prepare(name, root, Wishes(**wishes), decoder="decord", workers=Workers(1))
    return broken, capsys.readouterr().out.splitlines()


def counts(root: Path) -> dict[str, int | None]:
    return {entry.path: entry.num_frames for entry in VideoIndex(root).entries()}


def test_a_tree_is_counted_and_indexed_once(ucf: Path, capsys) -> None:
    broken, lines = run("ucf101", ucf, capsys)
    assert broken == 0
    assert lines[0].startswith(f"4 videos in {ucf / 'UCF-101'}: 4 examined, 0 broken (")
    assert lines[1:] == [
        "4 of 13,320 videos of UCF101 are there; its splits are derived by their rule, as there are no list files",
        "split 1: 3 training and 1 test video (9,537 and 3,783 if complete)",
        "split 2: 2 training and 2 test videos (9,586 and 3,734 if complete)",
        "split 3: 4 training and 0 test videos (9,624 and 3,696 if complete)",
    ]
    assert counts(ucf) == {f"UCF-101/{name}": 4 + number for number, name in enumerate(UCF)}
    broken, again = run("ucf101", ucf, capsys)
    assert again[0].startswith(f"4 videos in {ucf / 'UCF-101'}: 0 examined, 0 broken (")
    assert again[1:] == [*lines[1:], "nothing to do"]


def test_sides_copies_and_files_that_are_no_videos_are_named(tmp_path: Path, quick, capsys, caplog) -> None:
    sides = [f"{side}/{name}" for side in ("train", "val") for name in ("run", "walk")]
    for number, folder in enumerate(sides):
        write_video(tmp_path / folder / "1.avi", 4 + number)
    (tmp_path / "val/run/2.TS").write_bytes((tmp_path / "train/walk/1.avi").read_bytes())
    (tmp_path / "val/run/notes.txt").write_text("x")
    _, lines = run("folder", tmp_path, capsys)
    assert lines[1:] == [
        "split 1, by its folders: 2 classes, 2 training and 3 test videos",
        "1 video holds the bytes of another: train/walk/1.avi = val/run/2.TS",
    ]
    assert f"{tmp_path} is a split: train/ trains, val/ tests (there is no test folder)" in caplog.text
    assert f"{tmp_path}: 1 file has no suffix of a video and is left out: val/run/notes.txt" in caplog.text


def test_only_what_changed_is_done_again_and_broken_files_are_named(ucf: Path, capsys) -> None:
    run("ucf101", ucf, capsys)
    (ucf / "UCF-101" / UCF[0]).write_text("<html>")
    (ucf / "UCF-101" / UCF[1]).unlink()
    write_video(ucf / "elsewhere" / "x.avi", 2)
    broken, lines = run("ucf101", ucf, capsys)
    assert broken == 1
    assert "3 videos in" in lines[0]
    assert "1 examined, 1 no longer there, 1 broken" in lines[0]
    assert lines[1] == f"  broken: UCF-101/{UCF[0]}: is a web page, not a video: download it again"
    assert run("ucf101", ucf, capsys)[1][-1] == "nothing to do"
    assert sorted(counts(ucf)) == [f"UCF-101/{name}" for name in sorted([UCF[0], *UCF[2:]])]


def test_from_an_archive_and_a_second_data_set_beside_it(ucf: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "new"
    root.mkdir()
    files = {f"UCF-101/{name}": (ucf / "UCF-101" / name).read_bytes() for name in UCF}
    write_zip(root / "UCF101.zip", files)
    write_video(root / "hmdb51" / "walk" / "a_walk_f_cm_np1_fr_goo_0.avi", 3)
    for split in (1, 2, 3):
        (root / f"walk_test_split{split}.txt").write_text("a_walk_f_cm_np1_fr_goo_0.avi 1\nb_walk_f_cm.avi 2\n")
    assert run("hmdb51", root, capsys)[1][1:] == [
        f"1 of 6,766 videos of HMDB51 are there; its splits are in {root}",
        "split 1: 1 training and 0 test videos (3,570 and 1,530 if complete)",
        "split 2: 1 training and 0 test videos (3,570 and 1,530 if complete)",
        "split 3: 1 training and 0 test videos (3,570 and 1,530 if complete)",
        "1 listed video is absent: data.missing=skip trains on the others",
    ]
    assert run("ucf101", root, capsys)[1][0] == "unpacking UCF101.zip"
    assert len(counts(root)) == 5
    for name in ("ucf101", "hmdb51"):
        assert run(name, root, capsys)[1][-1] == "nothing to do", "the one does not forget the other"


def test_published_numbers_are_asserted_where_all_is_there(ucf: Path) -> None:
    small = replace(UCF101, num_videos=4, split_sizes={1: (3, 1), 2: (2, 2)})
    assert list(split_lines(ucf, None, small, set(UCF)))[1:] == [
        "split 1: 3 training and 1 test video (as published)",
        "split 2: 2 training and 2 test videos (as published)",
    ]
    wrong = replace(small, split_sizes={1: (3, 1), 2: (3, 1)})
    with pytest.raises(ValueError, match="split 2 has 2 training and 2 test videos, not the published 3 and 1: get"):
        list(split_lines(ucf, None, wrong, set(UCF)))
    assert len(list(split_lines(ucf, None, wrong, set(UCF[1:])))) == 4, "incomplete: told, not asserted"


def test_the_published_numbers_are_those_of_the_official_lists(real_data: Path) -> None:
    for known, folder in ((UCF101, "ucf101"), (HMDB51, "hmdb51")):
        lists = real_data / "official_splits" / folder
        there = {
            video.id for split in (1, 2, 3) for side in known.listed(real_data, lists, split)[1:] for video in side
        }
        all_there = there | {f"rest {number}" for number in range(known.num_videos - len(there))}
        assert len(there) == (13_320 if known is UCF101 else len(there))
        assert [line.partition("(")[2] for line in split_lines(real_data, lists, known, all_there)][1:] == [
            "as published)"
        ] * 3


def test_copies_are_a_data_set_and_packed_frames_are_found(ucf: Path, capsys) -> None:
    broken, lines = run("ucf101", ucf, capsys, reencode=True, pack=True, short_side=32)
    assert broken == 0
    assert any(line.startswith(f"4 videos, 4 re-encoded into {ucf / 'reencoded-32'} (") for line in lines)
    assert any(line.startswith(f"4 videos, 4 packed into {ucf / 'packed-32'} (") for line in lines)
    original = ucf101.UCF101(ucf, split=1)
    copy = ucf101.UCF101(ucf / "reencoded-32", split=1)
    assert [video.id for video in copy.train + copy.test] == [video.id for video in original.train + original.test]
    for video, short in zip(original.train, copy.train, strict=True):
        assert read_frames(short.path, [3]).shape == (1, 32, 42, 3)  # 64 · 32 / 48 = 42.7: 2 · round(21.3)
        assert Packed(ucf / "packed-32").read(video, [3]).shape == (1, 32, 43, 3)
    entries = VideoIndex(ucf / "reencoded-32").entries()
    assert [(entry.codec, entry.has_b_frames) for entry in entries] == [("h264", False)] * 4
    assert {entry.path: entry.num_frames for entry in entries} == {name: 4 + i for i, name in enumerate(UCF)}
    assert run("ucf101", ucf, capsys, reencode=True, pack=True, short_side=32)[1][-1] == "nothing to do"
    (ucf / "reencoded-32" / UCF[2]).unlink()
    assert any("1 re-encoded" in line for line in run("ucf101", ucf, capsys, reencode=True, short_side=32)[1])
    assert len(counts(ucf)) == 4, "copies are not taken for originals"


@pytest.mark.usefixtures("quick")
def test_copies_elsewhere_take_their_lists_along(tmp_path: Path, capsys) -> None:
    root, output = tmp_path / "a" / "b", tmp_path / "out"
    for name in ("a_walk_f_cm_np1_fr_goo_0.avi", "b_walk_f_cm_np1_fr_goo_0.avi"):
        write_video(root / "hmdb51" / "walk" / name, 3)
    (root / "splits").mkdir()
    for split in (1, 2, 3):
        (root / "splits" / f"walk_test_split{split}.txt").write_text(
            "a_walk_f_cm_np1_fr_goo_0.avi 1\nb_walk_f_cm_np1_fr_goo_0.avi 2\n"
        )
    run("hmdb51", root, capsys, reencode=True, output=output)
    assert [video.id for video in hmdb51.HMDB51(output, split=2).test] == ["walk/b_walk_f_cm_np1_fr_goo_0.avi"]
    assert run("hmdb51", root, capsys, reencode=True, output=output)[1][-1] == "nothing to do"


@pytest.mark.usefixtures("quick")
def test_own_videos(tmp_path: Path, capsys) -> None:
    write_video(tmp_path / "walk" / "1.avi", 3)
    write_video(tmp_path / "run" / "2.mp4", 4)
    (tmp_path / "run" / "broken.mp4").write_bytes(b"")
    broken, lines = run("folder", tmp_path, capsys, reencode=True, pack=True)
    assert broken == 1
    assert lines[1] == "  broken: run/broken.mp4: is empty"
    assert lines[2] == "split 1, by chance: 2 classes, 2 training and 1 test video"
    assert sorted(counts(tmp_path)) == ["run/2.mp4", "run/broken.mp4", "walk/1.avi"]
    assert sorted(counts(tmp_path / "reencoded")) == ["run/2.mp4", "walk/1.avi"]
    assert Folder(tmp_path, split=1).classes == ("run", "walk"), "copies are no class"
    assert run("folder", tmp_path, capsys, reencode=True, pack=True)[1][-1] == "nothing to do"


def test_originals_are_never_written_over(ucf: Path, tmp_path: Path, capsys) -> None:
    whole = {path: path.read_bytes() for path in ucf.rglob("*.avi")}
    (tmp_path / "door").symlink_to(ucf / "UCF-101")
    for output in (ucf / "UCF-101", ucf / "UCF-101" / "YoYo", tmp_path / "door"):
        with pytest.raises(ValueError, match=r"lies among the videos in .*UCF-101: choose a folder outside"):
            run("ucf101", ucf, capsys, reencode=True, output=output)
    assert {path: path.read_bytes() for path in ucf.rglob("*.avi")} == whole


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"mirrors": ["http://m"]}, "--mirror: has no effect without --download"),
        ({"output": Path("x"), "pack": True}, "--output: has no effect without --reencode"),
        ({"short_side": 32}, "--short-side: has no effect without --reencode or --pack"),
    ],
)
def test_wishes_that_do_nothing_are_errors(wishes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wishes(**wishes)


def test_a_copy_that_fails_is_named_and_stops_no_other(ucf: Path, capsys, monkeypatch) -> None:
    original = copies.reencode

    def some(source: Path, copy: Path, **options):
        if source.name == Path(UCF[1]).name:
            raise ValueError("no")
        return original(source, copy, **options)

    monkeypatch.setattr(copies, "reencode", some)
    broken, lines = run("ucf101", ucf, capsys, reencode=True)
    assert broken == 1
    assert f"  not re-encoded: {ucf / 'UCF-101' / UCF[1]}: ValueError: no" in lines
    assert any("3 re-encoded" in line and "1 failed" in line for line in lines)


def test_a_full_disk_ends_it_with_one_error(ucf: Path, capsys, monkeypatch) -> None:
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copies, "pack_clip", full)
    with pytest.raises(OSError, match=r"the disk is full: make room and run the same command again.*packed-256"):
        run("ucf101", ucf, capsys, pack=True)


def test_the_command(ucf: Path, monkeypatch, capsys) -> None:
    (ucf / "UCF-101" / UCF[0]).write_bytes(b"")

    def command(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["twostream", "prepare", *arguments])
        main()

    command("ucf101", "--root", str(ucf))
    with pytest.raises(SystemExit, match=r"^1$"):
        command("ucf101", "--root", str(ucf), "--strict")
    assert f"broken: UCF-101/{UCF[0]}: is empty" in capsys.readouterr().out
    for arguments, message in (
        (
            ["ucf101", "--root", str(ucf / "nowhere")],
            "error: --root '.*nowhere': .* does not exist; it should hold UCF101",
        ),
        (["hmdb51", "--root", str(ucf)], r"error: --root .*no videos .*--download fetches them \(2 GB\)"),
        (["ucf101", "--root", str(ucf), "--pack", "--short-side", "7"], "error: short_side=7: must be even"),
        (["folder", "--root", str(ucf / "x"), "--download", "--mirror", "here"], "error: 'here': expected the address"),
    ):
        with pytest.raises(SystemExit, match=message) as stopped:
            command(*arguments)
        assert "\n" not in str(stopped.value)


def test_broken_archives_and_mirrors_end_in_one_line(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "UCF101.zip").write_text("<html>")
    urls = ["--download", "--mirror", "http://127.0.0.1:1/clips.zip"]
    for arguments, message in (
        (["ucf101", "--root", str(tmp_path)], r"error: .*UCF101\.zip: cannot be unpacked \(File is not a zip file\)"),
        (
            ["folder", "--root", str(tmp_path / "x"), *urls],
            r"error: clips\.zip cannot be downloaded: http://127.0.0.1:1",
        ),
    ):
        monkeypatch.setattr(sys, "argv", ["twostream", "prepare", *arguments])
        with pytest.raises(SystemExit, match=message) as stopped:
            main()
        assert "\n" not in str(stopped.value)


@pytest.mark.long
def test_in_other_processes(tmp_path: Path, capsys) -> None:
    write_video(tmp_path / "walk" / "1.avi", 3)
    write_video(tmp_path / "run" / "2.mp4", 4)
    assert run("folder", tmp_path, capsys, reencode=True, pack=True)[0] == 0
    assert counts(tmp_path / "reencoded") == {"run/2.mp4": 4, "walk/1.avi": 3}
    assert len(list((tmp_path / "packed-256").rglob("*.frames"))) == 2
