"""`twostream features`: rows are what the network says of their frames, on a grid; files are whole or not there."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from twostream.cli import features as typed
from twostream.config.features import Recipe, open_recipe
from twostream.config.loaded import load_run
from twostream.config.view import build_view
from twostream.data.dataset import ClipDataset, collate
from twostream.data.decoding import VideoError, frame_rate, timed_frames
from twostream.data.decoding.timed import TimedFrame
from twostream.data.flow import DIS
from twostream.data.frames import Decoded
from twostream.data.sources import Video
from twostream.data.windows import Windows, steps
from twostream.files.errors import UserError
from twostream.models.backbone import tiny
from twostream.models.network.heads import classifiers
from twostream.models.network.parts import towers
from twostream.prediction import Predictor
from twostream.prediction import features as features_module
from twostream.prediction.feature_files import FeaturesError, H5File, NpyFile, StoreFeatures
from twostream.prediction.features import Grid, Reader, reader_of, with_ends

LINEAR = ("pooling=gap", "temporal=pool2d")
NETWORKS = {
    "conv5 of one stream": (("streams=rgb", *LINEAR), "conv5"),
    "conv5 of flow": (("streams=flow", *LINEAR), "flow.conv5"),
    "a fused map": (("fusion=sum", "layer=conv5", *LINEAR), "fused"),
    "a fused vector": (("fusion=bilinear", "layer=conv5", *LINEAR), "head"),
    "two heads": (("fusion=sum", "layer=softmax"), "head"),
    "fused over time": (("fusion=conv", "layer=conv5", "temporal=conv3d", "pooling=gap"), "head"),
}


def reader(run: Path, layer: str) -> Reader:
    opened = open_recipe(Recipe(layer, str(run)))
    return Reader(opened.network, opened.view, layer, device=torch.device("cpu"))


GRID = Grid(10, 5)


def task(run: Path, root: Path, *, layer: str = "conv5", grid: Grid = GRID, **settings: str) -> StoreFeatures:
    recipe = Recipe(layer, str(run))
    opened = open_recipe(recipe)
    chunks = opened.view.sampling.fixed(grid.window, opened.view.span)[0].tolist()
    wanted = {"axes": "TD", "format": "npy", "chunks": chunks, **opened.settings, **settings}
    reading = partial(reader_of, recipe, "cpu", wanted["weights"])
    return StoreFeatures(root, reading, grid, settings=wanted, facts={"from": str(run)})


def listed(path: Path, name: str | None = None) -> Video:
    return Video(name or path.name, path, 0, "")


@pytest.mark.long
@pytest.mark.parametrize("kind", NETWORKS)
def test_features_times_the_classifiers_weights_are_the_scores_of_predict(kind, make_run, make_video, tmp_path) -> None:
    """Of 20 frames, so that the windows of both are frames 0 to 9, 5 to 14 and 10 to 19."""
    overrides, layer = NETWORKS[kind]
    run, video = make_run(*overrides), make_video(tmp_path / "a.mp4", 20)
    predictor = Predictor(load_run(run), device="cpu")
    layers = classifiers(predictor.network)
    for one in layers.values():
        one.weight.data *= 100  # so small at random that all windows would have nearly the same scores
    predicted = predictor.predict(video)
    rows = list(reader(run, layer).rows(video, Grid(10, 5), {}))
    found = torch.from_numpy(np.stack([row.vector for row in rows]))
    parts = found.split([one.weight[0].numel() for one in layers.values()], 1)
    with torch.no_grad():
        heads = [x @ one.weight.flatten(1).T + one.bias for x, one in zip(parts, layers.values(), strict=True)]
        scores = predictor.network.combine(torch.stack(heads)).softmax(1)
    assert predicted.scores == pytest.approx(scores.numpy(), rel=1e-4)
    assert np.array([row.seconds for row in rows]) == pytest.approx(predicted.seconds)
    assert np.log(predicted.scores).std(0).max() > 1e-3, "the windows differ"


def test_the_first_row_by_hand(make_run, make_video, tmp_path) -> None:
    """A clip as the test loads it, the stages of its tower one after the other, the mean of the map."""
    run = load_run(make_run("fusion=sum", "layer=softmax"))
    path = make_video(tmp_path / "a.mp4", 9)
    data = ClipDataset([listed(path)], frame_source=Decoded("pyav"), **build_view(run.cfg)._asdict())
    clip = collate([data[0, 0]])
    assert clip is not None
    [row] = reader(run.folder, "conv4").rows(path, Grid(10, 5), {})
    expected = []
    with torch.no_grad():
        both = towers(run.system.network).values()
        for tower, frames in zip(both, (clip.first[:, 0], clip.second[:, 0]), strict=True):
            maps = tower.enter(frames)
            for name in ("conv1", "conv2", "conv3", "conv4"):
                maps = tower.stage(name, maps)
            expected.append(maps.maps.mean((1, 3, 4))[0])
    assert row.vector == pytest.approx(torch.cat(expected).numpy(), abs=1e-5)
    assert row.vector.dtype == np.float32
    assert (row.frames, row.shown) == ((0, 8), (2, 5)), "stride 3 is what fits into nine frames with stacks of 6"


def test_which_frames_each_row_shows(run, video) -> None:
    """Of 24 frames, at ten a second; the network sees chunks 4 apart, the middle frames of which are 2 and 6 of ten."""
    read = reader(run, "rgb.conv1")
    rows = list(read.rows(video, Grid(10, 5), {}))
    assert [row.frames for row in rows] == [(0, 9), (5, 14), (10, 19)]
    assert [row.shown for row in rows] == [(2, 6), (7, 11), (12, 16)]
    assert np.array([row.seconds for row in rows]) == pytest.approx(np.array([[0, 9], [5, 14], [10, 19]]) / 10)
    centred = list(read.rows(video, Grid(10, 5, "centre"), {}))
    assert [row.frames for row in centred] == [(0, 4), (0, 9), (5, 14), (10, 19), (15, 23)]
    assert [row.shown for row in centred] == [(0, 1), (2, 6), (7, 11), (12, 16), (17, 21)]
    assert np.array_equal([row.vector for row in rows], [row.vector for row in centred[1:4]])
    each = list(read.rows(video, Grid(4, 1, "centre"), {}))
    assert len(each) == 24, "a row a frame, as MS-TCN has labels"
    assert [row.frames for row in each[:3]] == [(0, 1), (0, 2), (0, 3)]
    assert each[-1].frames == (21, 23)


@pytest.mark.parametrize("padding", ["none", "centre"])
def test_videos_that_are_shorter_than_a_window(padding, run, make_video, tmp_path) -> None:
    read = reader(run, "fused")
    for frames in (1, 9):
        path = make_video(tmp_path / f"{frames}.mp4", frames)
        rows = list(read.rows(path, Grid(10, 10, padding), {}))
        assert [row.frames for row in rows] == [(0, min(frames - 1, 4) if padding == "centre" else frames - 1)]
        assert np.isfinite(rows[0].vector).all()


@pytest.mark.parametrize("flow", [DIS(length=3), None], ids=["flow", "no flow"])
def test_the_ends_repeat_without_motion(run, video, flow) -> None:
    """As in a video that begins with its first frame three times and ends with its last one four times."""
    frames = list(timed_frames(video))[:6]
    longer = [*[frames[0]] * 2, *frames, *[frames[-1]] * 3]
    found = list(with_ends(steps(frames, flow), Grid(6, 1, "centre"), flow))
    expected = list(steps([*[frames[0]] * 3, *frames, *[frames[-1]] * 2], flow))
    assert len(found) == len(expected) == len(longer)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert (one.motion is None) == (other.motion is None)
        assert one.motion is None or np.allclose(one.motion, other.motion, atol=1e-3)


def test_frames_are_not_kept(run, monkeypatch) -> None:
    """Of 400 frames, those of one window are in memory at most, whatever has been read before."""
    alive: list[weakref.ref] = []
    largest = 0

    def frames_of(video, view) -> Iterator[TimedFrame]:
        nonlocal largest
        for index in range(400):
            frame = np.full((72, 96, 3), index % 250, np.uint8)
            alive.append(weakref.ref(frame))
            largest = max(largest, sum(one() is not None for one in alive))
            yield TimedFrame(index / 25, frame)

    monkeypatch.setattr(features_module, "frames_of", frames_of)
    assert len(list(reader(run, "conv5").rows("any", Grid(16, 16), {}))) == 25
    assert largest <= 4


@pytest.fixture
def folder(make_video, tmp_path) -> Path:
    for name, frames in (("a.mp4", 24), ("sub/b.v2.mp4", 12), ("sub/deep/c.avi", 3)):
        (path := tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        make_video(path.with_suffix(".mp4"), frames).rename(path)
    return tmp_path / "in"


def in_this_process(monkeypatch) -> list[int]:
    """Lets the command do its work here, where it is patched; returns the number of each command's videos."""
    from twostream.data.storage import extract
    from twostream.data.tasks import Outcome, one_line

    done: list[int] = []

    def run_tasks(function, items, **_) -> Iterator[Outcome]:
        done.append(len(items))
        for item in items:
            try:
                yield Outcome(item, function(item))
            except Exception as error:
                yield Outcome(item, error=one_line(error))

    monkeypatch.setattr(extract, "run_tasks", run_tasks)
    return done


def command(*words: object) -> None:
    typed.features([str(word) for word in words])


def test_the_columns_of_a_head_are_said_in_plain_words(run, video, tmp_path, monkeypatch, capsys) -> None:
    """Its JSON has the names of the classifiers in the checkpoint."""
    in_this_process(monkeypatch)
    command(run, video, "--layer", "head", "--out", tmp_path / "out", "--window", 10, "--stride", 5)
    assert re.search(
        r"^layer head: columns (rgb|flow|head) \d+(, (rgb|flow|head) \d+)*; windows", capsys.readouterr().out
    )


def test_a_folder(run, folder, tmp_path, monkeypatch, capsys) -> None:
    done, out = in_this_process(monkeypatch), tmp_path / "out"
    (folder / "sub" / "broken.avi").write_bytes(b"")
    with pytest.raises(SystemExit) as stopped:
        command(run, folder, "--layer", "conv5", "--out", out, "--window", 10, "--stride", 5)
    assert stopped.value.code == 1
    said = capsys.readouterr().out
    assert "layer conv5: columns rgb 64, flow 64; windows of 10 frames, one every 5" in said
    assert f"sub/broken.avi: VideoError: {folder / 'sub/broken.avi'}: is empty" in said
    assert "3 videos computed (5 rows" in said
    assert "1 failed" in said
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    stems = ["a", "sub/b.v2", "sub/deep/c"]
    assert names == sorted(f"{stem}.{suffix}" for stem in stems for suffix in ("json", "npy"))
    array, content = np.load(out / "a.npy"), json.loads((out / "a.json").read_text())
    assert (array.shape, array.dtype) == ((3, 128), np.float32)
    assert array == pytest.approx(
        np.stack([row.vector for row in reader(run, "conv5").rows(folder / "a.mp4", Grid(10, 5), {})])
    )
    wanted = {
        **{"video": "a.mp4", "file": "a.npy", "shape": [3, 128], "layer": "conv5", "fps": frame_rate(folder / "a.mp4")},
        **{"window": 10, "stride": 5, "padding": "none", "axes": "TD", "frames": [[0, 9], [5, 14], [10, 19]]},
        **{"columns": {"rgb": [0, 64], "flow": [64, 128]}, "shown": [[2, 6], [7, 11], [12, 16]], "from": str(run)},
        **{"seconds": [[0.0, 0.9], [0.5, 1.4], [1.0, 1.9]], "bytes": (out / "a.npy").stat().st_size},
    }
    assert {name: content[name] for name in wanted} == wanted
    assert len(content["weights"]) == 64
    assert {"torch", "av", "numpy"} <= content["versions"].keys()
    (folder / "sub" / "broken.avi").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    command(run, folder, "--layer", "conv5", "--out", out, "--window", 10, "--stride", 5)
    assert "3 videos, 3 of them in" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert done == [4]


def test_one_video_by_its_name_and_defaults_of_predict(run, video, tmp_path, monkeypatch, capsys) -> None:
    in_this_process(monkeypatch)
    command("--layer", "fused", "--out", tmp_path, run, "--device=cpu", video)
    content = json.loads((tmp_path / "right.json").read_text())
    assert (content["window"], content["stride"], content["shape"]) == (10, 5, [3, 64])


def test_other_settings_are_refused_by_name(run, make_run, folder, tmp_path) -> None:
    out, video = tmp_path / "out", listed(folder / "a.mp4")
    task(run, out)(video)
    before = (out / "a.npy").read_bytes()
    for other, told in (
        (task(run, out, layer="conv4"), "its layer is 'conv5', and 'conv4' is asked for; name another --out DIR"),
        (task(run, out, grid=Grid(10, 4)), "its stride is 5, and 4 is asked for"),
        (task(run, out, grid=Grid(10, 5, "centre")), "its padding is 'none', and 'centre' is asked for"),
        (task(run, out, axes="DT"), "its axes is 'TD', and 'DT' is asked for"),
        (task(make_run("flow.length=4"), out), "its (columns|weights) is "),
    ):
        with pytest.raises(FeaturesError, match=told):
            other(video)
    assert (out / "a.npy").read_bytes() == before
    assert task(run, out)(video).done == "there"


def test_files_of_others_are_not_overwritten(run, folder, tmp_path) -> None:
    (tmp_path / "a.npy").write_bytes(b"mine")
    for name, told in (("a.npy", r"a\.npy: not of `twostream features`"), ("a.json", r"a\.json: damaged, not of")):
        (tmp_path / name).write_text("{}")
        with pytest.raises(FeaturesError, match=told):
            task(run, tmp_path)(listed(folder / "a.mp4"))
        assert (tmp_path / name).read_text() == "{}"


def test_an_array_is_never_there_without_its_json(run, folder, tmp_path, monkeypatch) -> None:
    """Whichever of the steps is the last one that is done."""
    video, replace, unlink = listed(folder / "a.mp4"), Path.replace, Path.unlink
    task(run, tmp_path)(video)
    whole = np.load(tmp_path / "a.npy")
    for steps_done in range(4):
        os.utime(video.path, ns=(0, 0))
        video.path.write_bytes(video.path.read_bytes() + b"\0")  # another file, of the same frames
        left = steps_done

        def stop(do, path: Path, *rest: object, **options: object):
            nonlocal left
            if not {".npy", ".json"} & {path.suffix, *(Path(str(one)).suffix for one in rest)} or left < 0:
                return do(path, *rest, **options)
            left -= 1
            if left < 0:
                raise RuntimeError("killed")
            return do(path, *rest, **options)

        monkeypatch.setattr(Path, "replace", lambda path, to, stop=stop: stop(replace, path, to))
        monkeypatch.setattr(Path, "unlink", lambda path, stop=stop, **options: stop(unlink, path, **options))
        if steps_done < 3:
            with pytest.raises(RuntimeError, match="killed"):
                task(run, tmp_path)(video)
        else:
            task(run, tmp_path)(video)
        monkeypatch.undo()
        if (tmp_path / "a.npy").exists():
            assert np.array_equal(np.load(tmp_path / "a.npy"), whole)
            assert json.loads((tmp_path / "a.json").read_text())["bytes"] == (tmp_path / "a.npy").stat().st_size
        assert not list(tmp_path.glob(".a*"))
    assert task(run, tmp_path)(video).done == "there"


def test_a_video_that_changed_is_read_again(run, folder, make_video, tmp_path) -> None:
    video = listed(folder / "a.mp4")
    assert task(run, tmp_path)(video).items == 3
    make_video(video.path, 30)
    assert task(run, tmp_path)(video)[:2] == ("computed", 5)
    assert np.load(tmp_path / "a.npy").shape == (5, 128)


def test_a_process_opens_its_network_once(run, folder, tmp_path, monkeypatch) -> None:
    """Also if the task comes anew with every video, as from Ray; and not other weights than those it began with."""
    opened: list[Recipe] = []

    def counted(recipe: Recipe):
        opened.append(recipe)
        return open_recipe(recipe)

    sent = pickle.dumps(task(run, tmp_path / "out"))
    assert len(sent) < 10_000, "without the network"
    reader_of.cache_clear()
    monkeypatch.setattr(features_module, "open_recipe", counted)
    for name in ("a.mp4", "sub/b.v2.mp4"):
        assert pickle.loads(sent)(listed(folder / name, name)).done == "computed"
    assert len(opened) == 1
    with pytest.raises(ValueError, match="its weights have changed since this command began"):
        reader_of(Recipe("conv5", str(run)), "cpu", "0" * 64)


@pytest.mark.long
def test_from_weights(make_video, tmp_path, monkeypatch, capsys) -> None:
    """The network that training would start with; only where all that is read has been given."""
    in_this_process(monkeypatch)
    torch.manual_seed(3)
    backbone = tiny(3, 5)
    torch.save(backbone.state_dict(), tmp_path / "tiny.pth")
    video = make_video(tmp_path / "a.mp4", 16)
    words = ["backbone=tiny", f"backbone.weights={tmp_path / 'tiny.pth'}", "transform=none", "transform.size=64"]
    words += ["sampling.num_chunks=1"]
    command(*words, "streams=rgb", video, "--layer", "conv5", "--out", tmp_path / "rgb", "--window", 11, "--stride", 4)
    view = open_recipe(Recipe("conv5", None, ("data=folder", *words, "streams=rgb"))).view
    collector = Windows(view, length=11, stride=4)
    windows = [window for one in steps(timed_frames(video), None) if (window := collector.add(one)) is not None]
    expected = []
    for window in windows:
        maps = (torch.from_numpy(window.streams[0]).float() - 127.5) / 127.5
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5"):
            maps = backbone.eval().stages[name](maps)
        expected.append(maps.mean((2, 3))[0].detach().numpy())
    assert [window.shown.tolist() for window in windows] == [[5], [9]]
    assert np.load(tmp_path / "rgb" / "a.npy") == pytest.approx(np.stack(expected), abs=1e-5)
    command(*words, "fusion=sum", video, "--layer", "fused", "--out", tmp_path / "sum")
    assert np.load(tmp_path / "sum" / "a.npy").shape == (2, 64), "a fusion without weights"
    for overrides, layer, told in (
        (["streams=rgb"], "fc8", "would be random: no weights were given for rgb.backbone.stages.fc8"),
        (["fusion=conv"], "fused", "would be random: no weights were given for fusions.conv5"),
        (["streams=rgb"], "fused", "this network has none; choose from rgb.conv1, .* head"),
        (["streams=rgb", "backbone.weights=null"], "conv5", "weights=null: the features of a random rgb network"),
        (["streams=rgbb"], "conv5", "streams=rgbb: choose from rgb, flow, diff, or a column"),
        (["flow.store=there"], "conv5", "flow.store=there: features compute the flow of every frame"),
    ):
        with pytest.raises(UserError, match=told):
            command(*words, *overrides, video, "--layer", layer, "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def finished(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.long
def test_a_killed_command_goes_on_and_two_processes_write_what_one_writes(run, make_video, warm, tmp_path) -> None:
    for number in range(8):
        (tmp_path / "in" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        make_video(tmp_path / "in" / str(number % 3) / f"{number}.mp4", 40)
    words = ["-m", "twostream.cli", "features", str(run), str(tmp_path / "in"), "--layer", "conv5", "--workers", "2"]
    words += ["--window", "10", "--stride", "1", "--out", str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while len(list(tmp_path.rglob("killed/**/*.npy"))) < 1 and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    there = [path.stem for path in tmp_path.rglob("killed/**/*.npy")]
    assert 1 <= len(there) < 8
    done = warm.run(words, cwd=Path.cwd(), env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    assert f"8 videos, {len(there)} of them in" in done.stdout
    assert f"{8 - len(there)} videos computed ({31 * (8 - len(there))} rows" in done.stdout
    alone = task(run, tmp_path / "alone", grid=Grid(10, 1))
    for path in sorted((tmp_path / "in").rglob("*.mp4")):
        alone(listed(path, path.relative_to(tmp_path / "in").as_posix()))
    assert finished(tmp_path / "killed") == finished(tmp_path / "alone"), "the same files, and nothing left over"


def test_arrays_that_grow_are_those_of_numpy(tmp_path) -> None:
    rows = np.random.default_rng(0).normal(size=(1234, 7)).astype(np.float32)
    np.save(tmp_path / "numpy.npy", rows)
    for axes in ("TD", "DT"):
        with NpyFile(tmp_path / f"{axes}.npy", axes) as file:
            for row in rows:
                file.append(row)
        assert file.shape == np.load(tmp_path / f"{axes}.npy").shape
    assert (tmp_path / "TD.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    assert np.array_equal(np.load(tmp_path / "DT.npy"), rows.T)


def test_hdf5(run, folder, tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    for axes in ("TD", "DT"):
        video = listed(folder / "a.mp4")
        task(run, tmp_path / axes, axes=axes, format="h5")(video)
        task(run, tmp_path / "npy")(video)
        with h5py.File(tmp_path / axes / "a.h5") as file:
            found = file["features"][:]
        expected = np.load(tmp_path / "npy" / "a.npy")
        assert np.array_equal(found, expected if axes == "TD" else expected.T)
        assert json.loads((tmp_path / axes / "a.json").read_text())["shape"] == list(found.shape)
        assert task(run, tmp_path / axes, axes=axes, format="h5")(video).done == "there"


def test_without_h5py_the_error_names_the_extra(run, video, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"^--format h5 needs h5py .*: pip install -e .*\[h5\]"):
        H5File(tmp_path / "a.h5", "TD")
    monkeypatch.setattr(typed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^--format h5 needs h5py, .*: pip install -e .*\[h5\]"):
        command(run, video, "--layer", "head", "--out", tmp_path / "o", "--format", "h5")
    assert not (tmp_path / "o").exists()


def test_numbers_that_are_not_finite_are_no_features(run, video, tmp_path) -> None:
    broken = reader(run, "conv5")
    with torch.no_grad():
        broken.network.rgb.backbone.first[1].weight.fill_(float("inf"))
    with pytest.raises(VideoError, match=r"right\.mp4: layer conv5: its numbers are not finite"):
        next(broken.rows(video, Grid(10, 5), {}))


def test_wrong_lines(run, make_video, tmp_path) -> None:
    """Those that need the network; others stand in tests/cli/test_what_is_loaded.py."""
    video, twin = make_video(tmp_path / "a.mp4", 2), make_video(tmp_path / "b.mp4", 2).rename(tmp_path / "a.avi")
    for words, told in (
        ((run, video, "--layer", "fc7"), "--layer fc7: this network has none; choose from rgb.conv1, .*, fused, head$"),
        ((run, video, twin, "--layer", "head"), "a.mp4 and .*a.avi: their features would be one file"),
        ((run, video, "--layer", "head", "--stride", 11), "--stride 11: leaves gaps; at most the window, 10 frames"),
        ((run, video, "--layer", "head", "--stream", "depth=x"), "stream depth: .* has none from files"),
        ((run, video, "--layer", "head", "--config-dir", tmp_path), "a run has all of its options; leave it out"),
    ):
        with pytest.raises(UserError, match=told):
            command(*words, "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_words_are_divided(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=1.mp4").touch()
    assert typed.divide(["run", "a=1.mp4"]) == ("run", [], ["a=1.mp4"])
    assert typed.divide(["streams=rgb", "a=1.mp4"]) == (None, ["data=folder", "streams=rgb"], ["a=1.mp4"])
    for chosen in ("data=ucf101", "experiment=st_spatial"):
        assert typed.divide([chosen, "videos", "seed=1"]) == (None, [chosen, "seed=1"], ["videos"])
