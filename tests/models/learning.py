"""Small networks of every backbone, kind and pooling in conf/, and whether they learn eight clips of four classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from twostream.config.compose import compose_config
from twostream.config.network import build_network
from twostream.models.pooling.vlad import SoftVLAD
from twostream.options import conf_folder

CLASSES, CLIPS, FLOW = 4, 8, 2  # flow fields of a chunk
FRAMES = 8  # of a clip, for the backbones that read clips
STEPS, ENOUGH = 100, 0.05  # steps at most, and the training loss that counts as learnt
KINDS: dict[str, dict[str, Any]] = {
    "rgb": {"streams": ["rgb"]},
    "flow": {"streams": ["flow"]},
    "fused": {"layer": "conv5"},
    "two_towers": {"layer": "conv5", "two_towers": True},
    "late": {"layer": "softmax", "fusion": "sum"},
}
WIDTH = 0.125  # of the backbones that have this option and thousands of features


def options(group: str) -> list[str]:
    """The names of all options of a group of conf/."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


BACKBONES, POOLINGS = options("backbone"), options("pooling")


@dataclass
class Learning:
    """What training showed: the loss of the untrained heads, each step's worst head, tensors without any gradient."""

    first: float
    losses: list[float] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    lowest: float = 0.0  # score of all steps

    @property
    def failures(self) -> list[str]:
        """What is not as it must be, in words."""
        fresh = abs(self.first / math.log(CLASSES) - 1) > 0.1
        return [
            *([f"first loss {self.first:.3g}"] if fresh else []),
            *(["no score below 0"] if self.lowest >= 0 else []),
            *([f"loss {min(self.losses):.3g} after {len(self.losses)} steps"] if min(self.losses) >= ENOUGH else []),
            *([f"no gradient: {' '.join(self.unreached)}"] if self.unreached else []),
        ]


@cache
def base() -> DictConfig:
    return compose_config(["fusion=conv", f"flow.length={FLOW}", "dropout.rgb=0", "weights=null"])


@cache
def option(group: str, name: str) -> DictConfig:
    return OmegaConf.load(conf_folder() / group / f"{name}.yaml")  # type: ignore[return-value]


def configuration(backbone: str, kind: str, pooling: str, size: int) -> DictConfig:
    """The configuration of a network: that of conf/, small where the backbone may be, dropout off.

    `backbone` may be "timm:NAME".
    """
    backbone, _, name_in_timm = backbone.partition(":")
    cfg = OmegaConf.merge(base(), {"transform": {"size": size}})
    parts = {"backbone": option("backbone", backbone), "pooling": option("pooling", pooling)}
    parts |= {"sampling": {**option("sampling", "clip"), "num_frames": FRAMES}} if reads_clips(backbone) else {}
    for name, value in KINDS[kind].items():
        parts |= {name: option(name, value) if name == "fusion" else value}
    for name, value in parts.items():
        OmegaConf.update(cfg, name, value, merge=False)  # type: ignore[arg-type]
    if name_in_timm:
        cfg.backbone.name = name_in_timm  # type: ignore[union-attr]
    if "width" in cfg.backbone and has_fully_connected(backbone):  # type: ignore[union-attr]
        cfg.backbone.width = WIDTH  # type: ignore[union-attr]
    return cfg  # type: ignore[return-value]


@cache
def has_fully_connected(backbone: str) -> bool:
    return "fc6" in stages(backbone)


@cache
def reads_clips(backbone: str) -> bool:
    return any(getattr(stage, "over_clip", False) for stage in stages(backbone).values())


@cache
def stages(backbone: str) -> Mapping[str, nn.Module]:
    make = instantiate(OmegaConf.merge(option("backbone", backbone.partition(":")[0]), {"weights": None}))
    with torch.device("meta"):
        return dict(make(3, CLASSES).stages.items())


@cache
def clips(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """(rgb, flow, label): two clips of each class, its coarse pattern under noise, in grey levels."""
    generator = torch.Generator().manual_seed(0)

    def draw(channels: int, spread: float) -> Tensor:
        patterns = torch.randn(CLASSES, channels, 4, 4, generator=generator)
        patterns = F.interpolate(patterns, size=(size, size), mode="bilinear").repeat(CLIPS // CLASSES, 1, 1, 1)
        noise = torch.randn(CLIPS, channels, size, size, generator=generator)
        return spread * (patterns + 0.5 * noise)

    rgb = (draw(3, 50.0) + 110).round().clamp(0, 255).to(torch.uint8)
    flow = draw(2 * FLOW, 15.0).round().clamp(-127, 127).to(torch.int8)
    return rgb.unsqueeze(1), flow.unsqueeze(1), torch.arange(CLIPS) % CLASSES


def learn(backbone: str, kind: str, pooling: str, *, side: int = 48) -> Learning:
    """Trains on the eight clips at once by AdamW, until every head's loss was small and every parameter had a gradient.

    Images have `side` pixels a side; those for fully connected layers as many as these were made for.
    """
    torch.manual_seed(0)
    cfg = configuration(backbone, kind, pooling, 224 if pooling == "native" and has_fully_connected(backbone) else side)
    network: Any = build_network(cfg, CLASSES)
    rgb, flow, label = clips(cfg.transform.size)
    if reads_clips(backbone):
        rgb, flow = (frames.expand(-1, FRAMES, -1, -1, -1) for frames in (rgb, flow))
    shown = [{"rgb": rgb, "flow": flow}[stream] for stream in network.streams]
    start_centres(network, shown)
    optimizer = torch.optim.AdamW(rates(network), weight_decay=0.0)
    waiting = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        heads = network(*shown)
    result = Learning(farthest_loss(heads, label), lowest=heads.min().item())
    for _ in range(STEPS):
        heads = network(*shown)
        losses = torch.stack([F.cross_entropy(head, label) for head in heads])
        result.losses.append(losses.max().item())
        result.lowest = min(result.lowest, heads.min().item())
        if not waiting and min(result.losses) < ENOUGH:
            break
        optimizer.zero_grad()
        losses.sum().backward()
        waiting = {name: p for name, p in waiting.items() if p.grad is None or not p.grad.any()}
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    result.unreached = list(waiting)
    return result


def rates(network: nn.Module) -> list[dict[str, Any]]:
    """Classifiers learn ten times as fast as what lies below: some poolings give them vectors of length 1."""
    heads = {id(p) for name, p in network.named_parameters() if ".stages.fc" in name or name.startswith("heads.")}
    return [
        {"params": [p for p in network.parameters() if (id(p) in heads) == is_head], "lr": rate}
        for is_head, rate in ((False, 1e-3), (True, 1e-2))
    ]


def farthest_loss(heads: Tensor, label: Tensor) -> float:
    """The loss of the head that is farthest from ln k."""
    losses = [F.cross_entropy(head, label).item() for head in heads]
    return max(losses, key=lambda loss: abs(loss - math.log(CLASSES)))


def start_centres(network: nn.Module, shown: list[Tensor]) -> None:
    """As training does it: clusters start from the descriptors that they will see."""
    layers = [module for module in network.modules() if isinstance(module, SoftVLAD)]
    seen: dict[SoftVLAD, Tensor] = {}
    hooks = [layer.register_forward_pre_hook(lambda m, x: seen.update({m: x[0]})) for layer in layers]
    with torch.no_grad():
        network(*shown) if layers else None
    for hook in hooks:
        hook.remove()
    for layer, maps in seen.items():
        descriptors = maps.flatten(2).transpose(1, 2).flatten(0, 1)
        if len(descriptors) > len(layer.weight):
            layer.initialise(descriptors)
