"""Files and names of people who mean harm: none of them runs anything, leaks anything, or writes anywhere else."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf

import twostream
from twostream.config.clips import build_clips
from twostream.config.loaded import load_run
from twostream.config.saved import change_config, errors_name_file, load_config
from twostream.data.decoding import VideoError, probe
from twostream.data.history import History
from twostream.files.errors import UserError
from twostream.launch.resume import continued
from twostream.metrics.plots import save_confusion_matrix
from twostream.models.backbone import load_weights, tiny
from twostream.runs.checkpoint import load_plain, read_checkpoint
from twostream.training.recovery import damage

ROOT = Path(__file__).parents[2]
PACKAGE = Path(twostream.__file__).parent
sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("export", "data/prepare")]
SCRIPT, VIDEO = "<script>alert(1)</script>".replace("/", "∕"), "$(touch x).avi"  # no file name holds a slash
CLASSES = (SCRIPT, "$x$ `touch x`", "caf\udce9")  # the last one is not UTF-8 on disk


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.proof}",)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    from run_folders import make_run

    return make_run(tmp_path_factory.mktemp("made") / "run", "backbone.width=0.25")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


# ---- nothing in the package could ----


def called(path: Path) -> set[str]:
    """The full text of every call's name: "torch.load", and of its keywords: "torch.load(weights_only=True)"."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = [(ast.unparse(call.func), call.keywords) for call in calls]
    return {name for name, _ in names} | {f"{name}({ast.unparse(k)})" for name, keywords in names for k in keywords}


FORBIDDEN = r"(pickle|dill|joblib|shelve|marshal)\..*|os\.(system|popen|exec.*|spawn.*)|eval|exec|yaml\.(unsafe|full).*"
ONLY = {  # where the calls are that read what others wrote, each with what makes it safe
    "torch.load": ("checkpoint.py", "torch.load(weights_only=True)"),
    "np.load": ("scores.py", "np.load(allow_pickle=False)"),
    "yaml.load": ("json_yaml.py", "yaml.load"),
    "OmegaConf.load": ("saved.py", "OmegaConf.load"),
    "get_object": ("trust.py", "get_object"),  # that of a trusted package alone
}
OURS = ("data/frames.py", "probe/store.py")  # read what processes of this user have written, without pickles


def test_what_no_file_of_the_package_does() -> None:
    for path in [*PACKAGE.rglob("*.py"), ROOT / "train.py"]:
        names = called(path)
        assert not [name for name in names if re.fullmatch(FORBIDDEN, name)], path
        assert not [n for n in names if re.search(r"\(shell=|allow_pickle=True|weights_only=False", n)], path
        for name, (file, safe) in ONLY.items():
            if name in names and not path.as_posix().endswith(OURS):
                assert path.name == file, f"{path}: {name}"
                assert safe in names, path
    assert "yaml.load(text, yaml.SafeLoader)" in (PACKAGE / "files" / "json_yaml.py").read_text()


# ---- weights ----


def test_a_malicious_checkpoint_runs_nothing(tmp_path: Path, run: Path) -> None:
    proof, path = tmp_path / "proof", run / "checkpoints" / "best.ckpt"
    content = {"state_dict": Malicious(proof), "classes": ["a"]}
    for write in (lambda: torch.save(content, path), lambda: path.write_bytes(pickle.dumps(content, protocol=2))):
        write()
        for read in (lambda: load_run(run), lambda: History.from_checkpoint(path), lambda: read_checkpoint(path)):
            with pytest.raises(ValueError, match=r"best\.ckpt: cannot be read as a checkpoint"):
                read()
        with pytest.raises(ValueError, match="not a file of plain tensors"):
            load_weights(tiny(3, 2), path)
    assert not proof.exists()
    pickle.loads(path.read_bytes())
    assert proof.exists(), "it would have"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": "ab"}, "classes are not a list of names"),
        ({"classes": [1]}, "classes are not a list of names"),
        ({"classes": ["a"] * 20_001}, "20,001 classes, not 1 to 20,000"),
        ({"state_dict": {"a": 1}}, "state_dict is not names and tensors"),
        ({"state_dict": {0: torch.zeros(1)}}, "state_dict is not names and tensors"),
        ({"state_dict": {"a": torch.zeros(1).expand(1 << 40)}}, "more than the file"),
        ({"state_dict": {"a": torch.zeros(3).to_sparse()}}, "more than the file"),
        ({"state_dict": {f"{i}": torch.zeros(100).expand(9, 100) for i in range(100)}}, "more than the file"),
    ],
)
def test_checkpoints_that_are_none(tmp_path: Path, change: dict, told: str) -> None:
    torch.save({"state_dict": {"a": torch.zeros(2)}, "classes": ["a"], **change}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=rf"x\.ckpt: cannot be read as a checkpoint \(.*{told}"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_a_checkpoint_is_no_bomb(tmp_path: Path) -> None:
    """40 MB of zeros in a compressed archive, which torch.save never makes, are 40 KB."""
    torch.save({"a": torch.zeros(10_000_000)}, tmp_path / "whole.ckpt")
    paths = tmp_path / "whole.ckpt", tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(paths[0]) as old, zipfile.ZipFile(paths[1], "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert load_plain(tmp_path / "whole.ckpt")["a"].shape == (10_000_000,)
    with pytest.raises(ValueError, match="unpacks to more than its size"):
        load_plain(tmp_path / "bomb.ckpt")
    assert "unpacks to more than its size" in str(damage(tmp_path / "bomb.ckpt"))


def test_what_it_was_trained_on_is_numbers(tmp_path: Path) -> None:
    for stored in ({"lists": ["a"], "videos": torch.zeros(1)}, {"lists": [1], "videos": torch.arange(1)}, [], {}):
        with pytest.raises(ValueError, match="what it was trained on is damaged"):
            History.from_content({"trained_on": stored})


# ---- configurations ----


@pytest.mark.parametrize(
    "change",
    [
        {"transform": {"_target_": "os.system", "command": "touch {proof}"}},
        {"transform": {"colour": {"_target_": "os.system", "_args_": ["touch {proof}"], "_partial_": False}}},
        {"optimizer": {"_target_": "os.system", "_partial_": True, "command": "touch {proof}"}},
        {"fusion": {"_args_": [{"_target_": "os.system", "command": "touch {proof}"}]}},
        {"_target_": "os.system"},
        {"flow": {"_target_": "twostream.training.loggers.wandb_logger"}},  # ours, but no flow
        {"pooling": {"_target_": ["os.system"]}},
    ],
)
def test_a_configuration_names_no_code(run: Path, tmp_path: Path, change: dict) -> None:
    proof = tmp_path / "proof"
    change = json.loads(json.dumps(change).replace("{proof}", str(proof)))
    cfg = OmegaConf.merge(load_config(run), change)
    OmegaConf.save(cfg, run / "config.yaml")
    with pytest.raises(ValueError, match=r"config\.yaml: names code that no option of twostream does"):
        load_run(run)
    assert not proof.exists()


@pytest.mark.parametrize(
    "text", ["${oc.env:SECRET}", "${oc.decode:x}", "${sweep_name:}", "${seed}", "a ${oc.env:HOME}"]
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_configuration_looks_nothing_up(run: Path, monkeypatch, text: str, as_json: bool) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    cfg = OmegaConf.to_container(load_config(run))
    cfg["data"]["root"] = text  # type: ignore[index,call-overload]
    (run / "config.yaml").unlink()
    written = json.dumps(cfg).replace("$", "\\u0024")  # a search of the text would not find it
    (run / ("config.json" if as_json else "config.yaml")).write_text(written)
    with pytest.raises(ValueError, match="values that are looked up when read are not taken from others") as caught:
        load_run(run)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "backbone: !!python/object/apply:os.system ['touch x']\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nbackbone: [*b, *b]\n",
        "backbone: " + "[" * 5000,
        "backbone: 1\n" + "#" * (1 << 18),
        "- backbone\n",
        "backbone: \udcff",
    ],
)
def test_configurations_that_are_none(run: Path, text: str) -> None:
    (run / "config.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"config\.yaml: (cannot be read|is no configuration)"):
        load_run(run)


def test_a_configuration_takes_no_memory_for_what_its_weights_do_not_have(run: Path) -> None:
    cfg = load_config(run)
    cfg.backbone.width = 10_000.0  # 10^11 numbers
    OmegaConf.save(cfg, run / "config.yaml")
    with pytest.raises(ValueError, match=r"best\.ckpt: does not fit .*config\.yaml: .*size mismatch"):
        load_run(run)


@pytest.mark.parametrize("key", ["sampling.num_chunks", "sampling.test_stride", "transform.size", "flow.short_side"])
def test_numbers_without_end_are_refused(run: Path, key: str) -> None:
    cfg = load_config(run)
    OmegaConf.update(cfg, key, 10**9)
    told = rf"x/config\.yaml: .*{key.rpartition('.')[2]}=1000000000: must be .*at most"
    with pytest.raises(ValueError, match=told), errors_name_file(Path("x/config.yaml")):
        build_clips(cfg, [])


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("optimizer._target_=os.system", "names code that no option of twostream does: 'os.system' as optimizer"),
        ("+transform.colour={_target_: os.system, command: 'touch x'}", "names code|no viable alternative|mismatched"),
        ("pooling=../../../evil", "names code that no option of twostream does: 'os.system' as pooling|no such option"),
        ("data.root=${oc.env:SECRET}", "is not taken from a folder"),
        ("seed=$\\{oc.env:HOME\\}", "is not taken from a folder"),
        ("optimizer._target_=$\\{x\\}", "is not taken from a folder"),
        ("+backbone@hydra.callbacks.x=tiny", "is not taken from a folder"),
        ("+backbone@_global_=tiny", "is not taken from a folder"),
        ("hydra.run.dir=/", "is not taken from a folder"),
        ("+hydra.launcher._target_=os.system", "is not taken from a folder"),
        ("--config-dir=/tmp", "is not taken from a folder"),
    ],
)
def test_resume_types_nothing_that_a_folder_wants(tmp_path: Path, word: str, told: str) -> None:
    """`resume=RUN_DIR` repeats the command that the folder names: as if its writer sat at the keyboard."""
    (tmp_path / "overrides.json").write_text(json.dumps(["fusion=sum", word]))
    with pytest.raises((UserError, HydraException), match=told):
        continued([f"resume={tmp_path}"])


def test_a_configuration_beside_those_of_conf(tmp_path: Path) -> None:
    """A file of the folder, reached by a path out of conf/."""
    (tmp_path / "evil.yaml").write_text("_target_: os.system\n_partial_: true\n")
    out = os.path.relpath(tmp_path / "evil", ROOT / "conf" / "pooling")
    (tmp_path / "overrides.json").write_text(json.dumps([f"pooling={out}"]))
    with pytest.raises((UserError, HydraException), match=r"names code|Could not find|mismatched|extraneous"):
        continued([f"resume={tmp_path}"])


def test_settings_name_no_code(run: Path) -> None:
    with pytest.raises(ValueError, match="names code that no option of twostream does"):
        change_config(load_config(run), ['data={"_t\\u0061rget_": "os.system"}'])


# ---- names ----


def test_names_are_no_formulas_in_pictures(tmp_path: Path) -> None:
    r"""Between two $ matplotlib reads a formula: `$\frac$` would end the run behind its last epoch."""
    names = (r"$\frac$", "<b>", "\x1b[2J", "\udcff", "a$b")
    save_confusion_matrix(np.eye(5, dtype=int), names, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_playlists_open_nothing(tmp_path: Path) -> None:
    """FFmpeg takes a file for what its content is: a list of others, whose frames would be shown."""
    from small_videos import write_video

    write_video(tmp_path / "other.mp4", 3)
    (tmp_path / "list.avi").write_text("ffconcat version 1.0\nfile other.mp4\n")
    (tmp_path / "net.avi").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mp4\n#EXT-X-ENDLIST\n")
    assert probe(tmp_path / "other.mp4").width == 64
    for name in ("list.avi", "net.avi"):
        with pytest.raises(VideoError, match=f"{name}: cannot be opened"):
            probe(tmp_path / name)


# ---- all of it in the real commands ----


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict", "SECRET": "hunter2"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.mark.slow
def test_the_real_commands(tmp_path: Path) -> None:
    """train.py, report, evaluate, predict, export over a video `$(touch x).avi` and a class `<script>…`."""
    from small_videos import write_video

    for number, name in enumerate(CLASSES):
        for other in range(4):
            file = tmp_path / "videos" / name / (VIDEO if other == 0 else f"-rf {other} `touch x`;.avi")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_video(file, 9 + number)
    sweep, run = tmp_path / "sweep <script>", tmp_path / "sweep <script>" / "<b>cell"
    small = ["backbone=tiny", "transform=none", "transform.size=32", "flow.length=2", "sampling.num_chunks=1"]
    data = [
        "data=folder",
        "decoder=pyav",
        "data.root=videos",
        "epochs=1",
        "num_workers=0",
        "logger=csv",
        "validation_fraction=0.34",
    ]
    done = command(tmp_path, str(ROOT / "train.py"), *data, *small, f"hydra.run.dir='{run}'")
    assert done.returncode == 0, done.stderr
    # a second one that failed, with an error text
    (sweep / "other").mkdir()
    (sweep / "other" / "overrides.json").write_text('["fusion=<script>alert(2)</script>"]')
    (sweep / "other" / "error.txt").write_text("ValueError: </script><script>alert(3)</script>\n")
    cli = ("-m", "twostream.cli")
    video = f"videos/{CLASSES[1]}/{VIDEO}"
    for words in (
        ("report", str(sweep), "--wandb", "off"),
        ("evaluate", str(run)),
        (
            "predict",
            str(run),
            video,
            "--json",
            "out.json",
            "--csv",
            "out.csv",
            "--video",
            "out.mp4",
            "--sheet",
            "out.png",
        ),
        ("inspect", str(run), video),
        ("export", str(run), "--format", "safetensors"),
    ):
        done = command(tmp_path, *cli, *words)
        assert done.returncode == 0, (words, done.stderr[-3000:])
    assert_harmless(sweep / "report" / "report.html")
    assert "<script>" not in (sweep / "report" / "report.md").read_text()
    assert "<script>" not in (run / "export" / "README.md").read_text()
    assert not [path for path in tmp_path.rglob("x") if path.is_file()], "no name got to a shell"


@pytest.mark.slow
def test_the_real_commands_on_folders_of_somebody_else(tmp_path: Path, run: Path) -> None:
    """`_target_: os.system`, `${oc.env:SECRET}` and a malicious checkpoint in a run folder, by every way in."""
    good = {path: path.read_bytes() for path in (run / "config.yaml", run / "checkpoints" / "best.ckpt")}
    (config, checkpoint), proof = good, tmp_path / "proof"
    cfg = OmegaConf.load(config)
    torch.save({"state_dict": Malicious(proof), "classes": ["a"]}, tmp_path / "evil.ckpt")
    evil = {
        "names code": (
            config,
            OmegaConf.to_yaml({**cfg, "transform": {"_target_": "os.system", "command": f"touch {proof}"}}),
        ),
        "looked up": (config, OmegaConf.to_yaml({**cfg, "layer": "${oc.env:SECRET}"})),
        "cannot be read as a checkpoint": (checkpoint, (tmp_path / "evil.ckpt").read_bytes()),
    }
    (tmp_path / "v.avi").touch()
    for told, (path, content) in evil.items():
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        for words in (
            ("evaluate", "run"),
            ("predict", "run", "v.avi"),
            ("inspect", "run"),
            ("export", "run", "--format", "onnx"),
        ):
            done = command(tmp_path, "-m", "twostream.cli", *words)
            assert done.returncode == 1, (words, done.stdout, done.stderr)
            assert told in done.stderr, (words, done.stderr)
            assert len(done.stderr.strip().splitlines()) == 1
            assert "hunter2" not in done.stdout + done.stderr
        path.write_bytes(good[path])
    small = [
        "data.train_clips=16",
        "data.test_clips=16",
        "epochs=0",
        "num_workers=0",
        "logger=csv",
        "validation_fraction=0",
    ]
    done = command(tmp_path, str(ROOT / "train.py"), *small, "init.rgb=evil.ckpt", "hydra.run.dir=new")
    assert done.returncode == 1
    assert "evil.ckpt: cannot be read as a checkpoint" in done.stderr
    assert not proof.exists()


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)


def assert_harmless(page: Path) -> None:
    """Two scripts, which are ours; the class is in the data, escaped."""
    elements, text = Elements(), page.read_text()
    elements.feed(text)
    assert elements.tags.count("script") == 2
    assert SCRIPT not in text
    assert "alert(3)" in text, "shown"
