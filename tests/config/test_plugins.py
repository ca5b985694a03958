"""Code of the user's own: through every command where it is named or installed, refused where a file alone names it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import twostream
from twostream.cli import main
from twostream.config.compose import compose_config
from twostream.config.data import build_source
from twostream.config.saved import known_targets, load_config
from twostream.config.trust import TYPED_IN, check_trust, plugin_packages
from twostream.export.hub import download_run
from twostream.files.errors import UserError
from twostream.launch.resume import continued

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("export", "data/prepare")]
MODULE = """
import os
import torch
from pathlib import Path
from twostream.models.fusion import Fusion

Path(__file__).with_name("imported").touch()

class Gated(Fusion):
    def __init__(self, rgb_channels, flow_channels):
        super().__init__()
        self.gate = torch.nn.Parameter(torch.zeros(()))
        self.out_channels = rgb_channels

    def forward(self, rgb, flow):
        return torch.lerp(flow, rgb, self.gate.sigmoid())
"""
YAML = "_target_: ourlab.Gated\n_partial_: true\n"
FEW = ["data.train_clips=16", "data.test_clips=16", "epochs=1", "num_workers=0", "logger=csv", "validation_fraction=0"]
TINY = [*FEW, "backbone.width=0.25", "batch_size=16", "flow.preset=ultrafast", "sampling.num_chunks=1"]


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path: Path) -> Iterator[None]:
    """A folder of the test's own is the current one, and what is found there is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    forget()
    yield
    forget()
    sys.modules.pop("ourlab", None)


def forget() -> None:
    plugin_packages.cache_clear()
    known_targets.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A module and an option of it in the current folder."""
    (tmp_path / "ourlab.py").write_text(MODULE)
    (tmp_path / "mine" / "fusion").mkdir(parents=True)
    (tmp_path / "mine" / "fusion" / "mine.yaml").write_text(YAML)
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run whose fusion is the lab's."""
    from run_folders import make_run

    folder, words = tmp_path_factory.mktemp("made"), [*TINY, "fusion=sum", "fusion._target_=ourlab.Gated"]
    (folder / "ourlab.py").write_text(MODULE)
    sys.path.append(str(folder))
    make_run(folder / "own", *words, classes=build_source(compose_config(words)).classes)
    sys.path.remove(str(folder))
    sys.modules.pop("ourlab")
    (folder / "own" / "overrides.json").write_text(json.dumps(words[-2:]))
    return folder / "own"


@pytest.fixture
def run(made: Path, lab: Path) -> Path:
    return Path(shutil.copytree(made, lab / "runs" / "own"))


Say = Callable[..., str]


@pytest.fixture
def say(monkeypatch, capsys) -> Say:
    """Runs `twostream …` here; what it printed."""

    def command(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["twostream", *map(str, words)])
        main()
        return capsys.readouterr().out

    return command


@pytest.mark.parametrize(
    "words", [("layer=conv5", "--config-dir", "mine", "fusion=mine"), ("fusion=sum", "fusion._target_=ourlab.Gated")]
)
def test_info_of_ones_own(lab: Path, say: Say, words: tuple[str, ...]) -> None:
    rows = json.loads(say("info", "--json", *words))["rows"]
    assert [row["parameters"] for row in rows if row["part"] == "fusion"] == [1]


def test_a_folder_of_options_that_is_none(say: Say) -> None:
    with pytest.raises(SystemExit, match=r"--config-dir absent: no such folder"):
        say("info", "--config-dir", "absent")


def test_a_run_is_refused_with_what_to_type(run: Path, lab: Path, say: Say) -> None:
    for words in (("evaluate", run), ("export", run, "--format", "onnx"), ("inspect", run)):
        with pytest.raises(SystemExit, match=r"'ourlab\.Gated' as fusion; if it is your own, trust it: --trust ourlab"):
            say(*words)
    with pytest.raises(ValueError, match=r"twostream\.load\(…, trust=\['ourlab'\]\)"):
        twostream.load(run)
    assert not (lab / "imported").exists()
    assert str(lab) not in sys.path


@pytest.mark.long
def test_a_run_through_every_command(run: Path, say: Say, monkeypatch) -> None:
    from small_videos import write_video

    trust = ("--trust", "ourlab")
    write_video(Path("v.avi"), 9)
    assert twostream.load(run, trust=["ourlab"]).network.fusions is not None
    assert "16 videos × 1 view" in say("evaluate", run, *trust, "--set", f"data.root={run / 'videos'}")
    assert say("predict", run, "v.avi", *trust).startswith("v.avi: 9 frames")
    assert "fusion" not in say("inspect", run, *trust)
    say("export", run, "--format", "safetensors", *trust)
    with pytest.raises(ValueError, match=r"'ourlab\.Gated' as fusion"):
        twostream.load(run / "export")
    assert twostream.load(run / "export", trust=["ourlab"])
    assert "1 finished" in say("report", run.parent, "--wandb", "off")


def test_resume_takes_own_code_that_is_named(run: Path, lab: Path) -> None:
    with pytest.raises(UserError, match=r"overrides\.json: names code .*--trust ourlab"):
        continued([f"resume={run}"])
    assert not (lab / "imported").exists()
    words = continued([f"resume={run}", "--trust", "ourlab", "epochs=2"])
    assert words[:3] == ["fusion=sum", "fusion._target_=ourlab.Gated", "epochs=2"]
    (run / "overrides.json").write_text('["fusion=mine"]')
    words = continued([f"resume={run}", "--config-dir", "mine"])
    assert words[:2] == [f"--config-dir={lab / 'mine'}", "fusion=mine"]
    with pytest.raises(UserError, match="is for resume=RUN_DIR"):
        continued(["--trust=ourlab", "seed=1"])


def test_resume_takes_code_from_where_it_is_typed(run: Path, lab: Path, monkeypatch) -> None:
    """A folder says where it was started, which may be where its writer has put a module of that name."""
    evil = lab / "evil"
    evil.mkdir()
    (evil / "ourlab.py").write_text(MODULE)
    (run / ".hydra").mkdir()
    OmegaConf.save({"hydra": {"runtime": {"cwd": str(evil)}}}, run / ".hydra" / "hydra.yaml")
    monkeypatch.setenv(TYPED_IN, "")
    continued([f"resume={run}", "--trust", "ourlab"])
    assert (Path.cwd(), Path(sys.modules["ourlab"].__file__ or "").parent) == (evil, lab)


# ---- installed ----


@pytest.fixture
def installed(tmp_path: Path, monkeypatch) -> Path:
    """The lab's package with its options, installed as a plug-in; elsewhere than in the current folder."""
    site = tmp_path / "site"
    write_distribution(site)
    (site / "ourlab" / "conf" / "fusion").mkdir(parents=True)
    (site / "ourlab" / "__init__.py").write_text(MODULE)
    (site / "ourlab" / "conf" / "fusion" / "mine.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(site)
    forget()
    return site


def write_distribution(site: Path) -> None:
    (site / "ourlab-1.0.dist-info").mkdir(parents=True)
    (site / "ourlab-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ourlab\nVersion: 1.0\n")
    (site / "ourlab-1.0.dist-info" / "entry_points.txt").write_text("[twostream.plugins]\nlab = ourlab\n")


def test_an_installed_plug_in_is_trusted_and_has_options(installed: Path, say: Say) -> None:
    from run_folders import make_run

    assert compose_config([]).fusion._target_.startswith("twostream."), "it changes nothing"
    assert not (installed / "ourlab" / "imported").exists()
    rows = json.loads(say("info", "--json", "fusion=mine"))["rows"]
    assert [row["parameters"] for row in rows if row["part"] == "fusion"] == [1]
    folder = make_run(Path("run"), *TINY, "fusion=mine")
    assert twostream.load(folder)
    assert "ourlab.Gated" in known_targets()["fusion"]


def test_a_folder_does_not_make_itself_a_plug_in(run: Path, lab: Path) -> None:
    """Not even where its code has been trusted before, and it can be imported from."""
    write_distribution(lab)
    load_config(run, trust=["ourlab"])
    with pytest.raises(ValueError, match=r"'ourlab\.Gated' as fusion"):
        load_config(run)


# ---- what trust is not ----


@pytest.mark.parametrize("name", ["ourlab.os.system", "ourlab.torch.hub.load", "ourlab.Path", "ourlab.Gated.__class__"])
def test_trust_is_for_the_package_alone(run: Path, name: str) -> None:
    """A module has, as its attributes, whatever it imports."""
    cfg = load_config(run, trust=["ourlab"])
    cfg.fusion._target_ = name
    OmegaConf.save(cfg, run / "config.yaml")
    with pytest.raises(ValueError, match=f"names code that no option of twostream does: '{name}'"):
        load_config(run, trust=["ourlab"])


@pytest.mark.parametrize("name", ["os", "builtins", "twostream", "subprocess.run", "", "a b", "a;b", "class", "../x"])
def test_what_cannot_be_trusted(name: str) -> None:
    with pytest.raises(ValueError, match="name a package or module of your own"):
        check_trust([name])


def test_trust_is_a_list(run: Path) -> None:
    with pytest.raises(ValueError, match=r"name the packages in a list, \['ourlab'\]"):
        twostream.load(run, trust="ourlab")


def test_a_package_that_lacks_the_code(run: Path, lab: Path) -> None:
    (lab / "ourlab.py").write_text("raise RuntimeError('no GPU')")
    with pytest.raises(ImportError, match=r"ourlab\.Gated: cannot be imported \(.*no GPU"):
        load_config(run, trust=["ourlab"])


def test_nothing_lies_in_wait_in_the_current_folder(run: Path, lab: Path) -> None:
    """A package that is installed is not taken from the current folder, whatever is trusted."""
    (lab / "cv2.py").write_text("raise SystemExit('ran')")
    sys.modules.pop("cv2.cv2", None)
    load_config(run, trust=["ourlab"])
    assert sys.path.index(str(lab)) == len(sys.path) - 1


def test_the_hub_trusts_nothing_by_itself(run: Path, monkeypatch) -> None:
    (run / "model.safetensors").touch()
    (run / "config.json").write_text(json.dumps(OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))))

    class Hub:
        snapshot_download = staticmethod(lambda *_, **__: str(run))

    monkeypatch.setattr("twostream.export.hub.require_hub", lambda: Hub)
    with pytest.raises(ValueError, match=r"'ourlab\.Gated' as fusion"):
        download_run("eve/net")
    assert download_run("eve/net", trust=["ourlab"]) == run


@pytest.mark.slow
def test_the_real_commands(lab: Path, warm, tmp_path: Path) -> None:
    environment = {**os.environ, "TWOSTREAM_CACHE": str(tmp_path / "cache"), "WANDB_MODE": "offline"}
    environment["PYTHONPATH"] = str(ROOT)

    def do(*words: str) -> str:
        done = warm.run(words, cwd=lab, env=environment, timeout=280)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    train, cli = str(ROOT / "train.py"), ("-m", "twostream.cli")
    do(train, *TINY, "--config-dir=mine", "fusion=mine", "hydra.run.dir=runs/one")
    do(train, "-m", *TINY, "--config-dir=mine", "fusion=mine,sum", "hydra.sweep.dir=sweep", "trainer=ddp",
       "trainer.devices=1", "trainer.accelerator=cpu")  # fmt: skip
    do(*cli, "evaluate", "runs/one", "--trust", "ourlab")
    video = next((tmp_path / "cache").rglob("*.mp4"), None) or next((tmp_path / "cache").rglob("*.avi"))
    do(*cli, "predict", "runs/one", str(video), "--trust", "ourlab")
    do(*cli, "export", "runs/one", "--format", "safetensors", "--trust", "ourlab")
    assert "2 finished" in do(*cli, "report", "sweep", "--wandb", "off")
