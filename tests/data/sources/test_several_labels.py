"""data.labels=multi: what a CSV says, which side a video is on, and what a clip's label is. No video is opened."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from video_trees import groups, ids, message, touch

from twostream.data.dataset import ClipDataset, collate
from twostream.data.flow import DIS
from twostream.data.frames import Decoded
from twostream.data.history import History, LeakError
from twostream.data.leaks import check_leaks
from twostream.data.record import record_of, summary_of
from twostream.data.sampling import Chunks
from twostream.data.sources import Folder, Video, hold_out
from twostream.data.transform import CentreCrop

ROWS = ["1.mp4,run;wave,train", "2.mp4, wave ; sit,train", "3.mp4,,train", "4.mp4,run,test", "5.mp4,sit;run,test"]


def write(root: Path, rows: list[str], *, header: str = "video,label,split") -> Path:
    touch(root, [row.split(",")[0] for row in rows])
    (root / "s.csv").write_text("\n".join([header, *rows]) + "\n")
    return root / "s.csv"


def several(root: Path, rows: list[str] = ROWS, **options) -> Folder:
    return Folder(root, split=1, csv=write(root, rows), labels="multi", **options)


def test_all_classes_of_a_video_are_read_and_written_back(tmp_path: Path) -> None:
    source = several(tmp_path)
    assert source.classes == ("run", "sit", "wave")
    assert {v.id: v.labels for v in source.videos} == {
        "1.mp4": (0, 2),
        "2.mp4": (1, 2),
        "3.mp4": (),
        "4.mp4": (0,),
        "5.mp4": (0, 1),
    }
    assert [v.named(source.classes) for v in source.test] == ["run", "run;sit"]
    source.write_split(tmp_path / "again.csv")
    assert Folder(tmp_path, split=1, csv=tmp_path / "again.csv", labels="multi") == source


def test_chosen_classes_leave_out_the_labels_of_others(tmp_path: Path) -> None:
    """4.mp4 had a label and has none left; 3.mp4 never had one, and says so still."""
    rows = [*ROWS, "6.mp4,wave,test"]
    source = several(tmp_path, rows, classes=["sit", "wave"])
    assert source.classes == ("sit", "wave")
    assert [(v.id, v.labels) for v in source.train] == [("1.mp4", (1,)), ("2.mp4", (0, 1)), ("3.mp4", ())]
    assert [(v.id, v.labels) for v in source.test] == [("5.mp4", (0,)), ("6.mp4", (1,))]


@pytest.mark.parametrize("cell", ["run;", ";run", "run;;wave", "run;run", "run; run"])
def test_a_name_that_is_empty_or_there_twice_is_refused(cell: str, tmp_path: Path) -> None:
    told = message(lambda: several(tmp_path, [*ROWS, f"9.mp4,{cell},train"]))
    assert f"s.csv:7: label={cell!r}: expected class names with ; between them, each once" in told


def test_what_multi_needs(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.mp4", "b/2.mp4"])
    assert "data.labels=multi: needs data.csv=FILE, whose column `label`" in message(
        lambda: Folder(tmp_path, split=1, labels="multi")
    )
    csv = write(tmp_path, ["a/1.mp4,train", "b/2.mp4,test"], header="video,split")
    told = message(lambda: Folder(tmp_path, split=1, csv=csv, labels="multi"))
    assert told == f"{csv}:1: data.labels=multi: expected a column `label`, found video, split"
    assert "data.labels='both': choose from single, multi" in message(lambda: Folder(tmp_path, split=1, labels="both"))
    assert "no training videos for 1 of 3 classes: sit" in message(lambda: several(tmp_path, [ROWS[0], *ROWS[2:]]))


def test_without_multi_a_semicolon_is_part_of_a_name(tmp_path: Path) -> None:
    csv = write(tmp_path, ["1.mp4,a;b,train", "2.mp4,c,train", "3.mp4,a;b,test"])
    source = Folder(tmp_path, split=1, csv=csv)
    assert source.classes == ("a;b", "c")
    assert [(v.label, v.labels) for v in source.train] == [(0, None), (1, None)]
    assert "label='': expected a class name" in message(
        lambda: Folder(tmp_path, split=1, csv=write(tmp_path, ["1.mp4,,train"]))
    )


def video(name: str, labels: tuple[int, ...], group: str) -> Video:
    return Video(id=name, path=Path(name), label=-1, group=group, labels=labels)


@pytest.mark.parametrize("seed", range(10))
def test_hold_out_is_fair_to_every_label(seed: int) -> None:
    """Each label, and having none, stays in training, and goes to validation if a second group has it."""
    rng = random.Random(seed)
    drawn = [tuple(sorted(rng.sample(range(6), rng.randint(0, 3)))) for _ in range(120)]
    videos = [video(f"v{i}", labels, f"g{i // 2}") for i, labels in enumerate(drawn)]
    train, validation = hold_out(videos, 0.25, seed)
    assert not groups(train) & groups(validation)
    assert sorted(ids(train + validation)) == sorted(ids(videos))
    kept, held = (Counter(label for v in side for label in v.labels or (-1,)) for side in (train, validation))
    for label in range(-1, 6):
        assert kept[label] > 0
        assert 0.1 < held[label] / (kept[label] + held[label]) < 0.45


def test_folds_share_every_label(tmp_path: Path) -> None:
    """Six groups of two videos that have a and b, a alone, or nothing: each of two folds gets a group of each kind."""
    labels = ["a;b", "a;b", "a", "a", "", ""]
    rows = [f"{i}.mp4,{labels[i // 2]},g{i // 2}" for i in range(12)]
    csv = write(tmp_path, rows, header="video,label,group")
    source = Folder(tmp_path, split=1, csv=csv, labels="multi", folds=2)
    for fold in (1, 2):
        own = [v for v in source.videos if source.fold_of[v.id] == fold]
        assert Counter(v.named(source.classes) for v in own) == {"a;b": 2, "a": 2, "": 2}
    source.write_split(tmp_path / "again.csv")
    assert Folder(tmp_path, split=1, csv=tmp_path / "again.csv", labels="multi") == source


def test_fingerprints_and_records_tell_label_sets_apart() -> None:
    def told(*labels: tuple[int, ...]) -> tuple:
        videos = [video(str(i), one, str(i)) for i, one in enumerate(labels)]
        parts = {"train": videos, "validation": [], "test": []}
        record = record_of(("a", "b"), parts)
        return summary_of(("a", "b"), parts)["train"]["fingerprint"], [entry.label for entry in record.parts["train"]]

    assert told((0, 1), ())[1] == ["a;b", ""]
    assert len({told((0, 1))[0], told((0,))[0], told((1,))[0], told(())[0]}) == 4


def test_the_same_bytes_with_other_labels_are_refused(tmp_path: Path) -> None:
    source = several(tmp_path, ["1.mp4,a;b,train", "2.mp4,a,train", "3.mp4,b,test"])
    for name, content in (("1", b"x"), ("2", b"x"), ("3", b"y")):
        (tmp_path / f"{name}.mp4").write_bytes(content)
    record = record_of(source.classes, {"train": source.train, "validation": [], "test": source.test})
    with pytest.raises(LeakError, match=r"in two classes: 1.mp4 = 2.mp4"):
        check_leaks(History.of("own", 1, source.train), source, record)


def test_the_label_of_a_clip_has_a_place_for_each_class(monkeypatch) -> None:
    videos = [video("1", (0, 2), "1"), video("2", (), "2")]
    clips = ClipDataset(
        videos,
        sampling=Chunks(1),
        transform=CentreCrop(size=8),
        flow=DIS(length=1),
        frame_source=Decoded(),
        num_classes=3,
    )
    labels = [clips._label(one) for one in videos]
    assert torch.stack(labels).tolist() == [[1, 0, 1], [0, 0, 0]]
    empty = clips.no_clips()
    assert (empty.label.shape, empty.label.dtype) == ((0, 3), torch.float32)
    whole = [empty._replace(first=empty.first, label=label) for label in labels]
    batch = collate(whole)
    assert batch is not None
    assert batch.label.tolist() == [[1, 0, 1], [0, 0, 0]]
