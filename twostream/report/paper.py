"""The accuracies that Feichtenhofer, Pinz & Zisserman (CVPR 2016) printed, and the runs that they are shown beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twostream.files.json_yaml import has_shape, read_yaml
from twostream.report.groups import Group
from twostream.runs.sweep import Cell

CHOICES = ("data", "backbone", "fusion", "temporal", "attention", "pooling")
RESULTS = {"!choices": {f"!{name}": str for name in CHOICES}, "!layer": (str, [str])}
CONFIG = {"!streams": (str, [str]), "!two_towers": bool, "!fusion": {"init": (str, None)}}


class Setting(NamedTuple):
    """What the paper's tables vary.

    Training is not part of it: runs that were trained for a shorter time are shown beside the same number.
    """

    backbone: str
    flow_backbone: str
    fusion: str | None
    layer: tuple[str, ...]
    temporal: str = "pool2d"
    streams: tuple[str, ...] = ("rgb", "flow")
    two_towers: bool = False
    init: str | None = None  # of a conv fusion's filter
    data: str = "ucf101"
    splits: tuple[str, ...] = ("1",)


class Printed(NamedTuple):
    """A number of the paper."""

    accuracy: float  # correct videos / all videos
    table: str


SPLITS = ("1", "2", "3")


def _vgg_m(fusion: str, *layer: str, init: str | None = None) -> Setting:
    return Setting("vgg_m", "vgg_m", fusion, layer, init=init)


def _conv(*layer: str) -> Setting:
    return _vgg_m("conv", *layer, init="sum")


def _late(backbone: str, **others: Any) -> Setting:
    return Setting(backbone, backbone, "sum", ("softmax",), **others)


def _single(backbone: str, stream: str, **others: Any) -> Setting:
    return Setting(backbone, backbone, None, (), streams=(stream,), **others)


def _deep(temporal: str, *, flow: str = "vgg_m", towers: bool = True, init: str = "sum", **others: Any) -> Setting:
    """Conv fusion at ReLU5 of VGG-16 with another network."""
    return Setting("vgg16", flow, "conv", ("conv5",), temporal=temporal, two_towers=towers, init=init, **others)


PRINTED: Mapping[Setting, Printed] = {
    setting: Printed(percent / 100, table)
    for table, setting, percent in [
        ("T1", _late("vgg_m"), 85.94),
        ("T1", _vgg_m("max", "conv5"), 82.70),
        ("T1", _vgg_m("concat", "conv5"), 83.53),
        ("T1", _vgg_m("bilinear", "conv5"), 85.05),
        ("T1", _vgg_m("sum", "conv5"), 85.20),
        ("T1", _conv("conv5"), 85.96),
        ("T1", _vgg_m("conv", "conv5", init="gaussian"), 85.59),
        ("T1, text", _conv("fc8"), 85.9),
        ("T1, text", _vgg_m("sum", "fc8"), 85.1),
        ("T2", _conv("conv2"), 82.25),
        ("T2", _conv("conv3"), 83.43),
        ("T2", _conv("conv4"), 82.55),
        ("T2", _conv("conv5", "fc8"), 86.04),
        ("T2", _conv("conv3", "conv5", "fc6"), 81.55),
        ("T3", _single("vgg_m", "rgb"), 74.22),
        ("T3", _single("vgg_m", "flow"), 82.34),
        ("T3", _single("vgg16", "rgb"), 82.61),
        ("T3", _single("vgg16", "flow"), 86.25),
        ("T3", _late("vgg16"), 90.62),
        ("T3", _single("vgg_m", "rgb", data="hmdb51"), 36.77),
        ("T3", _single("vgg_m", "flow", data="hmdb51"), 51.50),
        ("T3", _late("vgg_m", data="hmdb51"), 54.90),
        ("T3", _single("vgg16", "rgb", data="hmdb51"), 47.06),
        ("T3", _single("vgg16", "flow", data="hmdb51"), 55.23),
        ("T3", _late("vgg16", data="hmdb51"), 58.17),
        ("T4", _deep("pool2d", init="weighted"), 89.35),
        ("T4", _deep("pool3d", init="weighted"), 89.64),
        ("T4", _deep("conv3d"), 90.40),
        ("T4", _deep("pool2d", init="weighted", data="hmdb51"), 56.93),
        ("T4", _deep("pool3d", init="weighted", data="hmdb51"), 57.58),
        ("T4", _deep("conv3d", data="hmdb51"), 58.63),
        ("T5", _late("vgg16", splits=SPLITS), 91.7),
        ("T5", _deep("conv3d", splits=SPLITS), 90.8),
        ("T5", _deep("conv3d", flow="vgg16", towers=False, splits=SPLITS), 91.8),
        ("T5", _deep("conv3d", flow="vgg16", splits=SPLITS), 92.5),
        ("T5", _late("vgg16", splits=SPLITS, data="hmdb51"), 58.7),
        ("T5", _deep("conv3d", splits=SPLITS, data="hmdb51"), 62.1),
        ("T5", _deep("conv3d", flow="vgg16", towers=False, splits=SPLITS, data="hmdb51"), 64.6),
        ("T5", _deep("conv3d", flow="vgg16", splits=SPLITS, data="hmdb51"), 65.4),
    ]
}


def printed_number(group: Group) -> Printed | None:
    """Returns the paper's accuracy for a group's data, network and splits.

    Returns None if the paper has none, or if no run has finished.
    """
    finished = [(cell.folder, cell.results) for cell in group.cells if cell.folder and cell.results]
    choices = [results.get("choices", {}) for _, results in finished]
    found = {(chosen.get("data"), chosen.get("backbone")) for chosen in choices}
    if not found & {(setting.data, setting.backbone) for setting in PRINTED}:
        return None  # before any file is read, since most sweeps are not in the paper
    splits = _splits(group.cells)
    settings = {_setting(folder, results, splits=splits) for folder, results in finished}
    [setting, *others] = settings
    return PRINTED.get(setting) if setting and not others else None


def _splits(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Returns the splits of all planned cells: a mean that lacks a split still belongs beside the mean over three."""
    named = {str(cell.overrides.get("split", cell.results.get("split", "") if cell.results else "")) for cell in cells}
    return tuple(sorted(named - {""}))


def _setting(folder: Path, results: Mapping[str, Any], *, splits: tuple[str, ...]) -> Setting | None:
    """Returns the setting of a finished run.

    Returns None if its config.yaml is gone, or if it has layers that the paper does not know.
    """
    try:
        config = read_yaml(folder / "config.yaml")
    except ValueError:
        return None
    if not has_shape(config, CONFIG) or not has_shape(results, RESULTS):
        return None
    choices, layer, streams = results["choices"], results["layer"], config["streams"]
    backbones = choices["backbone"], choices.get("backbone@flow_backbone") or choices["backbone"]
    pooling = "gap" if choices["fusion"] == "bilinear" else "native"  # the classifier follows that fusion directly
    if (choices["attention"], choices["pooling"]) != ("none", pooling):
        return None
    network = Setting(
        *backbones,
        fusion=choices["fusion"],
        layer=(layer,) if isinstance(layer, str) else tuple(sorted(layer)),
        temporal=choices["temporal"],
        streams=(streams,) if isinstance(streams, str) else tuple(streams),
        two_towers=config["two_towers"],
        init=config["fusion"].get("init"),
        data=choices["data"],
        splits=splits,
    )
    if len(network.streams) > 1:
        return network
    used = backbones[network.streams == ("flow",)]  # one network, and nothing is fused
    return network._replace(backbone=used, flow_backbone=used, fusion=None, layer=(), init=None)
