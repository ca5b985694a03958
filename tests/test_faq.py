"""The questions of docs/faq.md have threads and commands; scripts and costs on its neighbours' pages are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from twostream.config.compose import compose_config
from twostream.config.network import describe_config
from twostream.models.backbone import vgg_m
from twostream.models.backbone.weights import load_weights

DOCS = Path(__file__).parents[1] / "docs"


def script_of(page: str) -> str:
    [script] = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    return script


def test_every_question_has_its_thread_and_a_command() -> None:
    questions = re.split(r"^### ", (DOCS / "faq.md").read_text(), flags=re.M)[1:]
    assert len(questions) >= 20
    for question in questions:
        assert re.search(r"\]\(https://github\.com/[\w.-]+/[\w.-]+/issues/\d+\)", question), question
        assert re.search(r"```bash\n(twostream|python train\.py) ", question), question


def test_the_memory_of_a_clip() -> None:
    needs = [
        describe_config(compose_config(["data=ucf101", "backbone=resnet50", f"checkpointing={kept}"]), 101)
        for kept in ("true", "false")
    ]
    said = re.findall(r"(\d+) MiB", (DOCS / "faq.md").read_text())
    assert [int(number) for number in said] == [round(need.training_bytes_per_clip / 2**20) for need in needs]


def cell(items: list[dict[str, Any]]) -> np.ndarray:
    """A cell array of MATLAB, 1 × n, as MatConvNet keeps its layers."""
    array = np.empty((1, len(items)), dtype=object)
    array[0, :] = items
    return array


def layer(name: str, filters: np.ndarray) -> dict[str, Any]:
    pair = np.empty((1, 2), dtype=object)
    pair[0, 0], pair[0, 1] = filters, np.arange(filters.shape[3], dtype="float32")[:, None]
    return {"type": "conv", "name": name, "weights": pair}


def test_the_conversion_of_vgg_m(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow VGG-M in MatConvNet's layout (height, width, in, out) is converted, and loaded."""
    monkeypatch.chdir(tmp_path)
    network = vgg_m(3, 7, width=1 / 32)
    shapes = {
        source.removesuffix(".weight"): network.state_dict()[name].shape
        for name, source in network.source_names.items()
        if source.endswith(".weight")
    }
    rng = np.random.default_rng(0)
    filters = {
        name: rng.normal(size=(h, w, channels, out)).astype("float32") for name, (out, channels, h, w) in shapes.items()
    }
    layers = [one for name in filters for one in (layer(name, filters[name]), {"type": "relu", "name": f"relu{name}"})]
    savemat("imagenet-vgg-m-2048.mat", {"layers": cell(layers)})
    exec(script_of("reproduce.md"), {})
    found = torch.load("VGG_M.pth", weights_only=True)
    assert found.keys() == {f"{name}.{kind}" for name in shapes for kind in ("weight", "bias")}
    assert shapes["fc6"][2:] == (6, 6)
    assert shapes["fc7"][2:] == (1, 1)
    for name, given in filters.items():
        assert found[f"{name}.weight"][1, 2, -1, 0] == given[-1, 0, 2, 1]
        assert found[f"{name}.bias"].tolist() == list(range(given.shape[3]))
    report = load_weights(network, "VGG_M.pth")
    assert (len(report.loaded), report.random, report.unused) == (16, (), ())


@pytest.mark.long
def test_the_costs_of_rows() -> None:
    """9,537 training videos less a tenth, 3,783 test videos of 20 views; whole frames are 256 × 341 pixels."""
    rows = re.findall(r"^\| `(t\d_\w+)` \|(.*)\|$", (DOCS / "reproduce.md").read_text(), re.M)
    assert len(rows) == 7
    for name, cells in rows:
        cfg = compose_config([f"experiment={name}"])
        described = describe_config(cfg, 101)
        clips = 30 * (3 * 8583 + 954) + 20 * 3783 * 256 * 341 / 224**2
        operations = described.flops * clips
        costs = [described.flops / 1e9, operations / 1e15, operations / 1e13 / 3600]
        memory = [described.weights_bytes / 2**30, cfg.batch_size * described.training_bytes_per_clip / 2**30]
        assert [float(text) for text in cells.split("|")] == pytest.approx([*costs, *memory], rel=0.02, abs=0.06), name


def test_the_lists_of_pyslowfast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, lines in (("train", "a b.mp4 0\nc.mp4 1\n"), ("val", "d.mp4 0\n"), ("test", "e.mp4 1\n")):
        Path(f"{name}.csv").write_text(lines)
    exec(script_of("coming-from.md"), {})
    assert Path("split.csv").read_text().splitlines() == [
        "video,label,split",
        "a b.mp4,0,train",
        "c.mp4,1,train",
        "d.mp4,0,validation",
        "e.mp4,1,test",
    ]
