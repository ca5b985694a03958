"""Exported graphs compute what the network computes, for any number of clips."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from run_folders import disturb
from torch import nn

import twostream
from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.export.graph import culprit, load_onnx, load_pt2, program, quiet, scorer, to_onnx, write_onnx, write_pt2
from twostream.models.fusion import SumFusion
from twostream.options import conf_folder

SMALL = ["transform.size=16", "sampling.num_chunks=2", "flow.length=2"]
SEVERAL = ("pyramid", "multilevel")
RESIDUAL = ["layer=[conv2,conv5]", "two_towers=true", "backbone=resnet18", "backbone.weights=null"]
VECTORS = ("bilinear", "compact_bilinear")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


FUSIONS = [
    [f"fusion={name}", *["layer=[conv3,conv5]"] * (name in SEVERAL), *RESIDUAL * (name == "residual")]
    for name in options("fusion")
]
TEMPORAL = [[f"temporal={name}"] for name in options("temporal")]
ATTENTION = [
    [f"attention={name}", f"attention_over={over}"] for name in ("se", "nonlocal") for over in ("frame", "clip")
]
OTHERS = [
    *ATTENTION,
    ["layer=softmax", "fusion=weighted", "fusion.learned=true"],
    ["layer=softmax", "fusion=sum"],
    ["layer=[conv5,fc8]"],
    ["streams=rgb"],
    ["streams=flow"],
    ["backbone.inflate=true", "backbone@flow_backbone=tiny", "layer=conv4"],  # maps that differ in time
    ["fusion=compact_bilinear", "fusion.dimension=32"],  # so few that it takes the way through the FFT
]
TIMM = [
    ["backbone=timm", "backbone.name=test_vit", "streams=rgb", "temporal=pool2d"],  # its positions are resampled
    ["backbone=timm", "backbone.name=test_vit2", "layer=conv3", "fusion=concat"],
    ["backbone=timm", "backbone.name=test_vit3", "layer=conv5"],
    ["backbone=timm", "backbone.name=vit_tiny_patch16_dinov3_qkvb", "streams=flow"],  # rotary positions
]
MATRIX = [
    [*a, *b]
    for a, b in product(FUSIONS, TEMPORAL)
    if not (b == ["temporal=conv3d"] and a[0] in [f"fusion={name}" for name in VECTORS])  # refused: no map is left
]
SOME = [
    ["fusion=sum", "align.channels=project", "backbone@flow_backbone=tiny", "flow_backbone.width=0.5"],
    ["fusion=concat", "temporal=conv3d"],
    ["fusion=compact_bilinear", "temporal=pool2d"],
    ["backbone=timm", "backbone.name=test_vit", "layer=conv3"],
    ["pooling=spp", "streams=rgb"],  # a map of 2×2 cells, which 4×4 bins do not divide
]
POOLINGS = [[f"pooling={name}"] for name in options("pooling")]


def network_of(overrides: list[str]) -> tuple[nn.Module, list[str]]:
    cfg = compose_config([*SMALL, *overrides])
    torch.manual_seed(0)
    network = build_network(cfg, 5).eval()
    disturb(network)
    return network, [cfg.streams] if isinstance(cfg.streams, str) else list(cfg.streams)


def clips(count: int, streams: list[str]) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(count)
    rgb = torch.randint(0, 256, (count, 2, 3, 16, 16), generator=random, dtype=torch.uint8)
    flow = torch.randint(-127, 128, (count, 2, 4, 16, 16), generator=random, dtype=torch.int8)
    return {name: value for name, value in {"rgb": rgb, "flow": flow}.items() if name in streams}


def check(overrides: list[str], write, load, path: Path, tolerance: float) -> None:
    """One file for 1, 2 and 5 clips; `network` itself is asked as training asks it."""
    network, streams = network_of(overrides)
    write(scorer(network), clips(2, streams), path)
    predict = load(path)
    for count in (1, 2, 5):
        inputs = clips(count, streams)
        with torch.no_grad():
            score = network.combine(network(*inputs.values()))  # type: ignore[operator]
        assert score.shape == (count, 5)
        assert score.std() > 1e-4, "a network that says the same of every clip shows nothing"
        assert (predict(inputs) - score).abs().max() <= tolerance
    assert str(Path(twostream.__file__).parent).encode() not in path.read_bytes(), "no path of this machine"


def identity(overrides: list[str]) -> str:
    return "-".join(overrides)


@pytest.mark.long
@pytest.mark.parametrize("overrides", SOME, ids=identity)
def test_torch_export(overrides: list[str], tmp_path: Path) -> None:
    check(overrides, write_pt2, load_pt2, tmp_path / "model.pt2", tolerance=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [*MATRIX, *POOLINGS, *OTHERS, *TIMM], ids=identity)
def test_torch_export_of_every_option(overrides: list[str], tmp_path: Path) -> None:
    check(overrides, write_pt2, load_pt2, tmp_path / "model.pt2", tolerance=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [*FUSIONS, *TEMPORAL, *POOLINGS, *OTHERS, *TIMM], ids=identity)
def test_onnx_of_every_option(overrides: list[str], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX: pip install 'twostream[onnx]'")
    check(overrides, write_onnx, load_onnx, tmp_path / "model.onnx", tolerance=1e-4)


def test_what_cannot_be_exported_is_named(monkeypatch) -> None:
    """A layer that looks at its values and not only at their shapes; every part around it can be exported."""

    def forward(self, rgb, flow):
        return rgb + flow if rgb.sum() > 0 else flow

    monkeypatch.setattr(SumFusion, "forward", forward)
    network, streams = network_of(["fusion=sum"])
    module = scorer(network)
    with quiet(), pytest.raises(Exception, match="data-dependent"):
        program(module, clips(2, streams))
    assert culprit(module, clips(2, streams), program) == "fusion SumFusion (at fusions.conv5)"


@pytest.mark.slow
def test_what_only_onnx_cannot_do_is_named(monkeypatch) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX: pip install 'twostream[onnx]'")
    monkeypatch.setattr(SumFusion, "forward", lambda self, rgb, flow: rgb + torch.special.bessel_j0(flow))
    network, streams = network_of(["fusion=sum"])
    module = scorer(network)
    assert culprit(module, clips(2, streams), program) == "the network as a whole"
    assert culprit(module, clips(2, streams), to_onnx) == "fusion SumFusion (at fusions.conv5)"
