"""Every option of conf/ through every command: `pytest -m matrix`, hours; a covering sample of it without the marker.

A cell passes (numbers are finite, commands agree with each other) or is refused by one line. Which cells are refused
is written down in `REFUSED`: a refusal that is not there, or does not come, is a failure.
`MATRIX_TABLE=FILE` leaves what every command said of every cell in that file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cells import Cell, all_cells, small, words_of
from commands import Commands
from warm import Warm

ROOT = Path(__file__).parents[2]
REFUSED = {  # names of cells: what train.py says of them; on a machine without a GPU
    r"fusion=(concat|bilinear|compact_bilinear) layer=(fc8|softmax)": r"returns \d+ channels where the scores of",
    r"fusion=bilinear layer=conv5 temporal=conv3d .*": "leaves no map for temporal=conv3d",
    r"fusion=(multilevel|pyramid) layer=\[conv3,conv5\] two_towers=true": "this fusion keeps no tower",
    r"temporal=conv3d temporal.order=interleaved": "the fused map is in another order",
    r"backbone@flow_backbone=resnet18 layer=conv5 fusion=sum": "rgb has 8 and flow 512",
    r"schedule=plateau .*validation_fraction=0": "needs validation videos",
    r"streams=(rgb init.flow|flow init.rgb)=.*": "has no such tower",
    r"train_from=(fusion|conv[2-9]|fc8)": "would stay random",
    r"trainer=fsdp ema=0.9": "no process of trainer=fsdp has all weights",
    r"trainer=ddp trainer.sync_batchnorm=true": "PyTorch has it for GPUs only",
    r"trainer=\w+ trainer.accelerator=tpu": "torch_xla",
    r"trainer=gpu trainer.accelerator=auto": "",  # which is the CPU here
    r"trainer=gpu.*|trainer=\w+ trainer.accelerator=(gpu|mps|cuda)": "PyTorch finds no GPU",
    r"trainer=\w+ trainer.devices=-1": "on a CPU choose a number of processes",
    r".*=(path|text|DIR|FILE)": "=|",  # a value that stands for any; where there is none such
    r".*weights=(imagenet\w*|kinetics)": "imagenet|kinetics|",  # where there is no network connection
    r"(layer|attention_after|train_from)=fc[67]": "choose from (conv1|all)",
    r"experiment=\w+ data=moving_patterns": "init.rgb=required: this experiment starts from trained streams; train one",
    r"precision=16-mixed": "is for GPUs",
    r"flow=raft flow.device=cuda": "not available",
    r"data=\w+ data.frames=packed": "no such folder; write it with",
    r"decoder=torchcodec": "needs torchcodec|",
    r"attention_after=null": "",  # no group: it means none
    r"\w+=null": "choose from",
}
TSN = (
    r"25 segments cannot be divided into clips of T=(\d+), and this network does not score each frame alone|"
    r"this network was trained on \d+ frames in a row"
)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = os.environ.get("TWOSTREAM_CACHE") or str(tmp_path_factory.mktemp("cache"))
    return {**os.environ, "TWOSTREAM_CACHE": cache, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


@pytest.fixture(scope="session")
def streams(tmp_path_factory: pytest.TempPathFactory, warm: Warm, environment: dict[str, str]) -> Mapping[str, Path]:
    """A run of each stream, to start towers from."""
    folder = tmp_path_factory.mktemp("streams")
    for stream in ("rgb", "flow"):
        words = [str(ROOT / "train.py"), *small([f"streams={stream}"]), f"hydra.run.dir={folder / stream}"]
        assert warm.run(words, cwd=folder, env=environment, timeout=570).returncode == 0
    return {stream: folder / stream for stream in ("rgb", "flow")}


@pytest.fixture(scope="session")
def tally() -> Iterator[dict[str, dict[str, str]]]:
    """{cell: {command: what it said}}; with MATRIX_TABLE=FILE written there, a line for each cell."""
    told: dict[str, dict[str, str]] = {}
    yield told
    if path := os.environ.get("MATRIX_TABLE"):
        Path(path).write_text("".join(json.dumps([name, said]) + "\n" for name, said in told.items()))


@pytest.mark.matrix
@pytest.mark.parametrize("cell", all_cells(), ids=lambda cell: f"{cell.kind}: {cell.name}")
def test_every_command(cell: Cell, tmp_path: Path, warm: Warm, environment, streams, tally) -> None:
    real = os.environ.get("TWOSTREAM_REAL_DATA")
    words = words_of(cell, real=Path(real) if real else None, ucf11=tmp_path / "ucf11", streams=streams)
    if real is None and any("{real}" in word or "{ucf11}" in word for word in cell.needs):
        pytest.skip("needs real clips: set TWOSTREAM_REAL_DATA")
    if any("{ucf11}" in word for word in cell.needs):
        write_ucf11(Path(str(real)), tmp_path / "ucf11")
    commands = Commands(warm, environment, tmp_path)
    tally[f"{cell.kind}: {cell.name}"] = commands.said
    try:
        commands.all(words)
    finally:
        shutil.rmtree(tmp_path, ignore_errors=True)  # checkpoints of hundreds of networks
    check_refusals(cell, commands.said)


def write_ucf11(real: Path, folder: Path) -> None:
    """Links to UCF101 clips of two classes, by names of UCF11."""
    for name in ("Punch", "YoYo"):
        for clip in (real / "UCF-101" / name).iterdir():
            group, number = re.findall(r"_[gc](\d+)", clip.stem)
            place = folder / name / f"v_{name.lower()}_{group}" / f"v_{name.lower()}_{group}_{number}.avi"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(clip)


def check_refusals(cell: Cell, said: Mapping[str, str]) -> None:
    """A cell is refused where, and as, it is written down: by train.py; and by evaluate where T does not divide 25."""
    refused = {command: line for command, line in said.items() if line != "passed"}
    if found := re.search(TSN, refused.get("evaluate tsn", "")):
        assert found[1] is None or 25 % int(found[1])
        del refused["evaluate tsn"]
    expected = [line for name, line in REFUSED.items() if re.fullmatch(name, cell.name)] or [""]
    assert refused.keys() <= {"train"}, f"refused: {refused}"
    assert re.search(expected[0], refused.get("train", "")), f"{refused or 'passed'}; expected: {expected[0]}"
    assert expected[0] or not refused, f"refused: {refused}"


SAMPLE = [
    "temporal=conv3d channels_last=true two_towers=true pooling=gem attention=se attention_over=clip ema=0.9 "
    "sampling=segments sampling.num_chunks=2 precision=bf16-mixed schedule=plateau",
    "fusion=concat layer=fc8",
    "streams=[rgb,diff] backbone.inflate=true sampling=clip sampling.num_frames=4 fusion=cross_attention layer=conv3 "
    "temporal=conv3d precision=bf16-mixed",
]


@pytest.mark.long
@pytest.mark.parametrize("words", SAMPLE)
def test_a_sample(words: str, tmp_path: Path, warm: Warm, environment) -> None:
    """Options that meet in one tensor, through the commands that take no longer than a second."""
    commands = Commands(warm, environment, tmp_path)
    commands.all(small(words.split()), only=["resume", "evaluate quick", "predict", "report"])
    check_refusals(Cell("pair", tuple(words.split())), commands.said)


def test_a_new_file_of_conf_is_a_new_cell() -> None:
    names = {cell.name for cell in all_cells()}
    assert {
        "fusion=conv",
        "logger=[csv]",
        "experiment=t1_conv",
        "experiment=t1_late data=moving_patterns",
        "transform=tsn transform.test=ten",
    } <= names
    assert {"precision=bf16-mixed", "fusion=conv fusion.relu=false", "pooling=lp", "optimizer=null"} <= names
