"""`evaluate --streams`: whose stream is shown to whom, the scores by hand, what is written, and what is refused."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_evaluate import left_by

from twostream import cli
from twostream.data.clip import Clip
from twostream.data.donors import WithDonors, own_and_donor
from twostream.evaluation.evaluate import prepare
from twostream.evaluation.plan import Plan
from twostream.evaluation.streams import MEAN, SHUFFLED, StreamOutcome, score_streams
from twostream.files.errors import ExpectedError
from twostream.metrics.scores import Scores

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWOSTREAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return left_by(tmp_path_factory.mktemp("run"))


class Numbered:
    """Clips of one value each, their video's number; `sizes`: of frames, None for one that cannot be read."""

    def __init__(self, sizes: list[int | None]) -> None:
        self.sizes, self.made = sizes, []
        self.videos = [SimpleNamespace(path=f"{number}.mp4") for number in range(len(sizes))]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, key: tuple[int, int]) -> Clip | None:
        self.made.append(key[1])
        if (size := self.sizes[key[1]]) is None:
            return None
        views = torch.full((2, 1, 3, size, size), key[1])
        return Clip(views, -views, torch.tensor(key[1] % 3), torch.tensor(key[1]))


def pairs(clips: WithDonors) -> dict[int, int]:
    """{video: donor}, as the values of the streams say."""
    found = {}
    for place in range(len(clips)):
        if (clip := clips[(0, place)]) is not None:
            own, donor = own_and_donor(Clip(*(part[None] for part in clip)))
            assert own.first.shape == donor.second.shape == (1, 2, 1, 3, 4, 4)
            assert own.label == own.index % 3 == donor.label
            found[int(own.first.unique())] = int(-donor.second.unique())
            assert (int(own.index), int(donor.index)) == (int(-own.second.unique()), int(donor.first.unique()))
    return found


def test_everybody_has_one_donor_and_is_one() -> None:
    clips = WithDonors(Numbered([4] * 20))  # type: ignore[arg-type]
    found = pairs(clips)
    assert sorted(found) == sorted(found.values()) == list(range(20))
    assert all(own != donor for own, donor in found.items())
    assert found == pairs(WithDonors(Numbered([4] * 20)))  # type: ignore[arg-type]
    assert found != pairs(WithDonors(Numbered([4] * 20), seed=1))  # type: ignore[arg-type]


def test_each_clip_is_made_once_on_the_way_round() -> None:
    dataset = Numbered([4] * 20)
    pairs(WithDonors(dataset))  # type: ignore[arg-type]
    assert len(dataset.made) == 21, "the first one again, for the last"


def test_any_other_video_is_as_likely() -> None:
    """Of three videos there are two circles."""
    circles = [WithDonors(Numbered([4] * 3), seed=seed) for seed in range(400)]  # type: ignore[arg-type]
    share = np.mean([pairs(clips)[0] == 1 for clips in circles])
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 400)


def test_the_next_one_that_fits_is_the_donor() -> None:
    """Video 2 cannot be read, and the frames of 5 have another size: whoever stands before them takes a later one."""
    clips = WithDonors(Numbered([4, 4, None, 4, 4, 9, 4]))  # type: ignore[arg-type]
    clips.circle = [0, 2, 5, 1, 3, 4, 6]
    alike = {place: clips[(0, place)] for place in (0, 3, 4, 5, 6)}
    assert [int(clip.index[1]) for clip in alike.values() if clip is not None] == [1, 3, 4, 6, 0]
    assert clips[(0, 1)] is None
    with pytest.raises(ExpectedError, match=r"5\.mp4: no other of 7 videos has frames of its size"):
        clips[(0, 2)]


def outcome(folder: Path, **plan) -> StreamOutcome:
    plan = Plan(streams=True, **plan)
    found = score_streams(prepare(folder, plan), plan)
    assert found is not None
    return found


def test_the_scores_by_hand(folder: Path) -> None:
    """The networks sees the RGB of one video and the flow of another, or the grey level that its tower takes for 0."""
    found = outcome(folder, protocol="quick")
    prepared = prepare(folder, Plan(protocol="quick"))
    network, ids = prepared.run.system.network, [video.id for video in prepared.dataset.videos]
    own, other = sorted(found.donors)[3], found.donors[sorted(found.donors)[3]]
    clip, donor = (prepared.dataset[(0, ids.index(name))] for name in (own, other))
    assert clip is not None
    assert donor is not None
    grey = torch.zeros(clip.first.shape) + network.rgb.input.mean
    rest = torch.zeros_like(clip.second)
    shown = {
        None: (clip.first, clip.second),
        ("rgb", SHUFFLED): (donor.first, clip.second),
        ("rgb", MEAN): (grey, clip.second),
        ("flow", SHUFFLED): (clip.first, donor.second),
        ("flow", MEAN): (clip.first, rest),
    }
    for way, (rgb, flow) in shown.items():
        scores = found.whole.scores if way is None else found.ways[way]
        with torch.no_grad():
            expected = network.combine(network(rgb, flow))[0].numpy()
        assert scores.logits[scores.videos.index(own)] == pytest.approx(expected, abs=1e-4), way
    assert list(found.ways) == [way for way in shown if way is not None]
    assert len({scores.logits.tobytes() for scores in (found.whole.scores, *found.ways.values())}) == 5


def test_batches_and_workers_change_nothing(folder: Path) -> None:
    one = outcome(folder, protocol="quick", batch_size=1)
    for changes in ({"batch_size": 7}, {"batch_size": 5, "workers": 2}):
        other = outcome(folder, protocol="quick", **changes)
        assert other.donors == one.donors
        for way, scores in one.ways.items():
            assert other.ways[way].logits == pytest.approx(scores.logits, abs=1e-4)


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["twostream", "evaluate", *map(str, arguments)])
    cli.main()


def test_what_is_left_behind(folder: Path, monkeypatch, capsys) -> None:
    run(monkeypatch, folder, "--streams", "--protocol", "quick")
    told = capsys.readouterr().out
    left = folder / "evaluation" / "quick-test-streams"
    names = (
        "donors.csv flow-mean.npz flow-shuffled.npz rgb-mean.npz rgb-shuffled.npz scores.npz streams.json streams.png"
    )
    assert sorted(path.name for path in left.iterdir()) == names.split()
    written = json.loads((left / "streams.json").read_text())
    for name in ("rgb-shuffled", "flow-mean"):
        scores = Scores.load(left / f"{name}.npz")
        right = (scores.logits.argmax(1) == scores.labels).mean()
        found = written["replaced"][name]
        assert found["top1"][0] == found["metrics"]["top1"] == pytest.approx(right)
        assert found["change"][0] == pytest.approx(right - written["top1"][0])
        assert found["change"][1] < found["change"][0] < found["change"][2]
    with (left / "donors.csv").open(newline="") as file:
        donors = {row["video"]: row["donor"] for row in csv.DictReader(file)}
    same = sum(own.split("/")[0] == other.split("/")[0] for own, other in donors.items())
    assert written["donors_of_same_class"] == same
    assert f"drawn at random, {same} of 16 from their own class" in told
    assert "no change is shown with rgb of another video" in told
    assert "flow at its mean" in told


def test_what_is_refused(folder: Path, tmp_path: Path, monkeypatch) -> None:
    alone = left_by(tmp_path, "streams=rgb")
    for arguments, said in [
        ((alone, "--streams"), "--streams: the run has one stream, rgb; replacing one takes two"),
        ((folder, "--streams", "--splits", "1"), "--streams is of one run: it goes without --splits"),
    ]:
        with pytest.raises(SystemExit, match=said) as stopped:
            run(monkeypatch, *arguments)
        assert "\n" not in str(stopped.value)


@pytest.mark.slow
def test_two_processes_show_the_same(folder: Path) -> None:
    one = outcome(folder, protocol="quick")
    words = ["evaluate", str(folder), "--streams", "--protocol", "quick", "--devices", "2"]
    command = [sys.executable, "-m", "twostream.cli", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("16 videos × 1 view") == 1, "one process writes"
    for (stream, how), scores in one.ways.items():
        found = Scores.load(folder / f"evaluation/quick-test-streams/{stream}-{how}.npz")
        assert found.logits == pytest.approx(scores.logits, abs=1e-4)


@pytest.mark.slow
def test_each_stream_of_the_embedded_set_carries_what_its_design_says(tmp_path: Path) -> None:
    """A place and a direction by flow, a pattern at each place by RGB.

    With another's RGB the direction stays and the pattern is any of four; with another's flow both are any of four.
    """
    settings = ["logger=csv", f"hydra.run.dir={tmp_path}"]
    subprocess.run([sys.executable, str(ROOT / "train.py"), *settings], check=True, timeout=600)
    found = outcome(tmp_path)
    right = {way: (of.logits.argmax(1) == of.labels).mean() for way, of in found.ways.items()}
    for way, share in ((("rgb", SHUFFLED), 1 / 4), (("flow", SHUFFLED), 1 / 16)):
        assert right[way] == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 400)), way
    scores = found.ways["rgb", SHUFFLED]
    assert (scores.logits.argmax(1) % 4 == scores.labels % 4).mean() > 0.9, "classes are pattern × direction"
