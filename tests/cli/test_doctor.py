"""One screen about a machine: short, without secrets, and right about decoders."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from twostream.cli.work import doctor
from twostream.data.sources.moving_patterns import MovingPatterns


def test_it_fits_a_screen_and_shows_no_secret(monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "s3cret")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    lines = list(doctor.report([]))
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert "s3cret" not in text
    assert str(Path.home()) not in text
    assert "an API key is in the environment" in text
    assert "pyav         exact: 18 frames, differs by at most 0.000 grey levels" in text


def test_a_decoder_that_returns_neighbours_is_found_out(tmp_path: Path, monkeypatch) -> None:
    clip = MovingPatterns(tmp_path, split=1, train_clips=16, test_clips=16).train[0].path
    assert doctor.exactness("pyav", [clip]) == ("exact: 9 frames, differs by at most 0.000 grey levels", [])
    read = doctor.read_frames
    monkeypatch.setattr(doctor, "read_frames", lambda path, i, decoder: read(path, np.maximum(i - 1, 0)))
    verdict, [line] = doctor.exactness("decord", [clip])
    assert verdict == "exact: 1 frames, differs by at most 0.000 grey levels; not 1 of 1 clips:"
    assert re.fullmatch(
        rf"{clip.name}: decord's frame 1 is off by [\d.]+ grey levels on average: use decoder=pyav", line
    )


def test_broken_and_absent_clips_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("x")
    assert doctor.videos_in(tmp_path) == [tmp_path / "a.avi"]
    assert doctor.exactness("pyav", [tmp_path / "a.avi"]) == ("no frame read; not 1 of 1 clips:", ["a.avi: is empty"])
    with pytest.raises(ValueError, match="nowhere: no such file or folder"):
        doctor.videos_in(Path("nowhere"))


def test_every_named_file_is_checked_and_what_is_left_of_a_folder_is_said(tmp_path: Path, monkeypatch) -> None:
    checked: list[Path] = []
    monkeypatch.setattr(doctor, "exactness", lambda name, clips: checked.extend(clips) or ("", []))
    monkeypatch.setattr(doctor, "DECODERS", ("pyav",))
    (tmp_path / "in").mkdir()
    named = [tmp_path / f"{number}.avi" for number in range(7)]
    for path in (*named, *(tmp_path / "in" / f"{number}.avi" for number in range(4))):
        path.touch()
    lines = list(doctor.report([*named, tmp_path / "in"], most=3))
    assert checked == [*named, *(tmp_path / "in" / f"{number}.avi" for number in range(3))]
    assert "clips        10 yours; 1 more are in the folders, --clips checks more of each" in lines
