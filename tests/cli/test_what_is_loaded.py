"""Help and wrong command lines do not wait for PyTorch: what each command may import before it ends."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twostream.cli.commands import COMMANDS
from twostream.data.decoding import DECODERS
from twostream.data.prepare.catalogue import PUBLISHED
from twostream.data.storage.flow_store import jpeg_folders
from twostream.metrics.scores import Scores
from twostream.models.network.reading import FUSED, HEAD
from twostream.models.stages import STAGES
from twostream.options import choices
from twostream.prediction.feature_files import WRITERS

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("torch", "torch._dynamo", "torchvision", "torchmetrics", "pytorch_lightning", "lightning_fabric", "timm"),
    *("sklearn", "scipy", "matplotlib", "pandas", "PIL", "av", "cv2", "decord", "torchcodec", "wandb", "rich"),
    *("huggingface_hub", "safetensors", "onnx", "numpy", "hydra", "gradio"),
)
LINES = {  # command line: (which of these packages it may load, what it prints)
    "twostream --help": ("", "usage: twostream"),
    "twostream bench --help": ("hydra", "usage: twostream bench"),
    "twostream contributions --help": ("numpy", "usage: twostream contributions"),
    "twostream demo --help": ("hydra", "usage: twostream demo"),
    "twostream doctor --help": ("", "usage: twostream doctor"),
    "twostream evaluate --help": ("hydra numpy", "usage: twostream evaluate"),
    "twostream export --help": ("hydra", "usage: twostream export"),
    "twostream features --help": ("hydra", "usage: twostream features"),
    "twostream flow --help": ("hydra", "usage: twostream flow"),
    "twostream fuse --help": ("numpy", "usage: twostream fuse"),
    "twostream info --help": ("hydra", "usage: twostream info"),
    "twostream inspect --help": ("hydra", "usage: twostream inspect"),
    "twostream predict --help": ("hydra", "usage: twostream predict"),
    "twostream prepare --help": ("", "usage: twostream prepare"),
    "twostream probe --help": ("hydra", "usage: twostream probe"),
    "twostream replay --help": ("hydra", "usage: twostream replay"),
    "twostream report --help": ("numpy", "usage: twostream report"),
    "twostream train --help": ("", "Trains and tests a network"),
    "twostream train fusion --help": ("", "GROUPS: network"),
    "python train.py --help": ("", "Trains and tests a network"),
    "twostream nosuch": ("", "error: command nosuch: choose from"),
    "twostream features run --layer conv9 --out here v.mp4": (
        "hydra",
        "error: --layer conv9: no network has conv9; did ",
    ),
    "twostream features run v.mp4 --layer head": ("hydra", "error: the following arguments are required: --out"),
    "twostream features run v.mp4 --layer head --out here": ("hydra", "error: v.mp4: cannot be opened"),
    "twostream features run --layer head --out here": ("hydra", "error: run: is followed by no VIDEO or FOLDER"),
    "twostream features run 0 --layer head --out here": ("hydra", "error: 0: cannot be opened"),
    "twostream features nowhere v.mp4 --layer head --out here": ("hydra", "error: nowhere: no such folder"),
    "twostream features run v.mp4 --layer head --out here --window 4 --stride 5": (
        "hydra",
        "error: --stride 5: leaves",
    ),
    "twostream features run v.mp4 --layer head --out here --padding both": (
        "hydra",
        "error: --padding both: choose from",
    ),
    "twostream features split=1 run --layer head --out here": (
        "hydra",
        "error: run: a run has all of its options; leave",
    ),
    "twostream features backbone=nosuch v.mp4 --layer head --out here": (
        "hydra",
        "error: backbone=nosuch: no such option",
    ),
    "twostream features backbone.weights=nowhere v.mp4 --layer head --out here": (
        "hydra",
        "error: weights='nowhere': no",
    ),
    "twostream info --nosuch": ("hydra", "error: --nosuch: no such option; see twostream info --help"),
    "twostream info --clases 5": ("hydra", "error: --clases: no such option; did you mean --classes? see twostream"),
    "twostream info --fusion=conv": ("hydra", "error: --fusion=conv: no such option; did you mean fusion=conv? see"),
    "twostream report a b": ("numpy", "error: more than is read: b; see twostream report --help"),
    "twostream": ("", "usage: twostream"),
    "twostream trian": ("", "error: command trian: did you mean train? choose from"),
    "twostream info --classes 0": ("hydra", "error: --classes 0: must be"),
    "twostream flow --store here --encoding gif": ("hydra", "error: --encoding gif: choose from jpeg, png, small"),
    "twostream evaluate run --protocol ten": ("hydra numpy", "error: --protocol ten: did you mean tsn? choose from"),
    "twostream evaluate run --batch-size 0": ("hydra numpy", "error: batch_size=0: must be at least 1"),
    "twostream export run --format pth": ("hydra", "error: --format pth: choose from onnx"),
    "twostream export run --format ONNX": ("hydra", "error: --format ONNX: did you mean onnx? choose from onnx"),
    "twostream export run --push alone": ("hydra", "error: 'alone': name a repository"),
    "twostream prepare kinetics --root here": ("", "error: data_set kinetics: choose from ucf101, hmdb51, folder"),
    "twostream demo nowhere": ("hydra", "error: nowhere: no such folder"),
    "twostream demo run gone": ("hydra", "error: gone: no such folder"),
    "twostream demo run --video gone.mp4": ("hydra", "error: gone.mp4: cannot be opened"),
    "twostream demo run --host 203.0.113.1": ("hydra", "error: --host 203.0.113.1 --port 7860: cannot be opened"),
    "twostream demo run --top 0": ("hydra", "error: --top 0: must be"),
    "twostream doctor nowhere": ("", "error: VIDEO|FOLDER nowhere: no such file"),
    "twostream contributions rgb=a.npz flow=b.npz": ("numpy", "error: b.npz: no such file"),
    "twostream contributions rgb=a.npz": ("numpy", "error: rgb: name two streams"),
    "twostream contributions a.npz": ("numpy", "error: STREAM=SCORES.npz a.npz: say of which stream it is"),
    "twostream evaluate nowhere": ("hydra numpy", "error: nowhere: no such folder"),
    "twostream evaluate nowhere --splits 1": ("hydra numpy", "error: nowhere: no such folder"),
    "twostream export nowhere --format onnx": ("hydra", "error: nowhere: no such folder"),
    "twostream fuse nowhere.npz": ("numpy", "error: nowhere.npz: no such file"),
    "twostream inspect nowhere": ("hydra", "error: nowhere: no such folder"),
    "twostream predict nowhere {here}/train.py": ("hydra", "error: nowhere: no such folder"),
    "twostream predict {here}/train.py .": ("hydra", "train.py: is a file; name the run folder that training has left"),
    "twostream predict run picture.PNG": ("hydra", "error: picture.PNG: is a picture; name a video"),
    "twostream inspect run picture.PNG": ("hydra", "error: picture.PNG: is a picture; name a video"),
    "twostream evaluate run/config.yaml": ("hydra numpy", "error: run/config.yaml: is a file; name the run folder"),
    "twostream predict nowhere nowhere.mp4": ("hydra", "error: nowhere.mp4: "),
    "twostream replay nowhere": ("hydra", "error: nowhere: has no nonfinite-*.pt"),
    "twostream inspect run nowhere.mp4": ("hydra", "error: nowhere.mp4: cannot be opened"),
    "twostream export run --format onnx --video nowhere.mp4": ("hydra", "error: nowhere.mp4: cannot be opened"),
    "twostream report nowhere": ("numpy", "error: nowhere: no such folder"),
    "twostream bench epochs=-1": ("hydra", "error: epochs=-1: must be"),
    "twostream flow --store here flow.bound=0": ("hydra", "error: flow.bound=0: must be"),
    "twostream info fusion=nosuch": ("hydra", "error: fusion=nosuch: no such option; choose from "),
    "twostream info --config-dir nowhere": ("hydra", "error: --config-dir nowhere: no such folder"),
    "twostream bench data=folder data.root=nowhere": ("hydra", "error: data.root='nowhere': "),
    "twostream bench backbone.weights=nowhere": ("hydra", "error: weights='nowhere': no such file; choose from null"),
    "twostream flow --store here data=folder data.root=nowhere": ("hydra", "error: data.root='nowhere': "),
    "twostream flow --store here --from-jpegs nowhere": ("hydra", "error: --from-jpegs nowhere: no such file"),
    "twostream prepare folder --root nowhere": ("numpy cv2 av", "error: --root 'nowhere': "),
    "twostream probe data=folder data.root=nowhere": ("hydra", "error: data.root='nowhere': "),
    "twostream probe flow.store=nowhere backbone.weights={here}/train.py": ("hydra", "error: nowhere: no flow store"),
    "twostream evaluate run --root nowhere": ("hydra numpy", "error: run: data.root='nowhere': "),
    "twostream evaluate run --set flow.store=nowhere --root .": ("hydra numpy", "error: nowhere: no flow store"),
    "twostream probe nosuch=1": ("hydra", "error: nosuch=1: no such option"),
    "python train.py --nosuch": ("hydra", "error: --nosuch: "),
    "python train.py nosuch": ("hydra", "error: nosuch: options are typed"),
    "python train.py nosuch=1": ("hydra", "error: nosuch=1: no such option"),
    "python train.py fusion=nosuch": ("hydra", "error: fusion=nosuch: no such option; choose from "),
    "python train.py fusion=cnv": ("hydra", "error: fusion=cnv: no such option; did you mean conv? choose from "),
    "twostream info checkpointing=true compile=true": ("hydra", "error: checkpointing=true: the compiler cannot"),
    "python train.py checkpointing=true compile=true": ("hydra", "error: checkpointing=true: the compiler cannot"),
    "python train.py streams=optical": ("hydra", "error: streams=optical: choose from rgb, flow, diff, or a column of"),
    "python train.py -m streams=rgb,optical": ("hydra", "error: streams=optical: choose from rgb, flow, diff, or a c"),
    "python train.py epochs=-1": ("hydra", "error: epochs=-1: must be"),
    "python train.py epochs=1,2": ("hydra", "error: epochs=1,2: several values"),
    "python train.py -m epochs=1,-1": ("hydra", "error: epochs=-1: must be"),
    "python train.py -m fusion=sum,nosuch": ("hydra", "error: fusion=nosuch: no such option; choose from "),
    "python train.py -m nosuch=1,2": ("hydra", "error: nosuch=1: no such option"),
    "python train.py resume=nowhere": ("hydra", "is no run folder: it has no overrides.json"),
    "python train.py resume=run/results.json": ("hydra", "is no run folder: name the folder that it is in"),
    "python train.py resume=sweep": (
        "hydra",
        "is no run folder but that of a sweep, which goes on when its",
    ),
    "python train.py data.root = X": ("hydra", "error: data.root =: leave out the spaces beside =: data.root=X"),
    "python train.py data.root =X": ("hydra", "error: data.root =X: leave out the spaces beside =: data.root=X"),
    "python train.py layer=[conv3,conb5]": ("hydra", "error: layer=[conv3,conb5]: did you mean conv5 or conv4? must"),
    "python train.py lr=1": ("hydra", "error: lr=1: no such option; did you mean optimizer.learning_rate?"),
    "python train.py --gpus 2": ("hydra", "error: --gpus: did you mean trainer.devices=2? options are typed as NAME="),
    "python train.py --config-dir nowhere": ("hydra", "error: --config-dir nowhere: no such folder"),
    "python train.py data=folder data.root=run": ("hydra", "should hold one folder of videos per class, holds 0 f"),
    "python train.py data=folder data.root=flat": ("hydra", "holds 0 folders and 1 videos: move each into the f"),
    "python train.py data=folder data.root=run weights=imagnet": ("hydra", "no such file; did you mean imagenet? cho"),
    "python train.py data=ucf101 data.root=nowhere": ("hydra", "error: data.root='nowhere': "),
    "python train.py data=hmdb51 data.root=. data.lists=nowhere": ("hydra", "error: data.lists='nowhere': "),
    "python train.py data=folder data.root=nowhere": ("hydra", "error: data.root='nowhere': "),
    "python train.py data=folder data.root=. data.csv=nowhere": ("hydra", "error: data.csv='nowhere': "),
    "python train.py data=folder data.root=. data.frames=packed": ("hydra", "error: data.packed='packed-256': "),
    "python train.py data=folder data.root=. weights=nowhere": ("hydra", "error: weights='nowhere': no such file"),
    "python train.py init.rgb=nowhere": ("hydra", "error: init.rgb=nowhere: must be a checkpoint"),
    "python train.py flow.store=nowhere": ("hydra", "error: nowhere: no flow store"),
    "python train.py -m seed=1,2 data=folder data.root=nowhere": ("hydra", "error: data.root='nowhere': "),
    "python train.py --cfg job": ("hydra", "_target_: "),
    "twostream fuse a.npz a.npz": ("numpy", "fused 1:1"),
    "twostream contributions rgb=a.npz flow=a.npz": ("numpy scipy", "flow is not shown to add anything to rgb"),
    "twostream report . --wandb off": ("numpy", "-> report"),
    "twostream info": (
        "torch torch._dynamo numpy av hydra",
        "FLOPs per clip",
    ),  # on meta tensors PyTorch imports dynamo
}
RUN = {
    "config.yaml": """backbone: {}
data: {_target_: twostream.data.sources.Folder, root: gone}
flow: {_target_: twostream.data.flow.DIS, store: null}
streams: [rgb, flow]
""",
    "overrides.json": "[]",
    "results.json": '{"metrics": {"test/top1": 0.5}}',
}
TOLD = """
import atexit, runpy, sys
heavy, sys.argv = sys.argv[1].split(), sys.argv[2:]
atexit.register(lambda: print("loaded", *(name for name in heavy if name in sys.modules), file=sys.__stderr__))
if sys.argv[0] == "twostream":
    runpy.run_module("twostream.cli", run_name="__main__")
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.long
@pytest.mark.parametrize("line", LINES)
def test_what_a_command_line_loads(line: str, tmp_path: Path) -> None:
    allowed, says = LINES[line]
    (tmp_path / "run").mkdir()
    for name, text in RUN.items():
        (tmp_path / "run" / name).write_text(text)
    for file in ("sweep/ledger.json", "flat/a.mp4", "picture.PNG"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    scores = Scores(("a", "b"), np.arange(2), np.eye(2, dtype=np.float32), ("x", "y"), "train", "", "mine", 1, "test")
    scores.save(tmp_path / "a.npz")
    words = shlex.split(line.format(here=ROOT).replace("python train.py", str(ROOT / "train.py")))
    command = [sys.executable, "-c", TOLD, " ".join(HEAVY), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    *printed, loaded = (done.stdout + done.stderr).strip().splitlines()
    assert says in "\n".join(printed)
    failed = "error: " in done.stderr
    assert done.returncode == failed
    assert not (failed and (tmp_path / "runs").exists()), "nothing is left of what could not begin"
    assert set(loaded.split()) - {"loaded", *allowed.split()} == set()


def test_every_command_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert {f"twostream {name} --help" for name in COMMANDS} <= LINES.keys()
    shown = subprocess.run(
        [sys.executable, "-m", "twostream.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert all(re.search(rf"^  {name} +{re.escape(what)}$", shown.stdout, re.M) for name, (_, what) in COMMANDS.items())


def test_what_can_be_typed_is_what_is_there() -> None:
    """The choices are written where nothing heavy is loaded for them, away from the code that has to know each."""
    assert set(choices.DECODERS) == set(DECODERS)
    assert (*PUBLISHED, "folder") == choices.DATA_SETS
    assert tuple(jpeg_folders.NAMINGS) == choices.NAMINGS
    assert (*STAGES, FUSED, HEAD) == choices.READABLE
    assert tuple(WRITERS) == choices.FEATURE_FORMATS
