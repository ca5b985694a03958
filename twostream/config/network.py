"""Configuration -> network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from twostream.config.compose import names_of, streams_of
from twostream.config.older import is_multi
from twostream.config.sampling import span_in
from twostream.config.starts import REQUIRED, backbone_config, start_of, takes_weights
from twostream.config.streams import check_streams, side_of, streams_in
from twostream.config.trust import code_of
from twostream.models.backbone.weights import check_weights
from twostream.models.fusion import UpconvAlign
from twostream.models.network import (
    MultiLevelNetwork,
    OverClip,
    ResidualNetwork,
    SingleStreamNetwork,
    Tower,
    TwoStreamNetwork,
)
from twostream.models.network.description import Description, describe
from twostream.models.network.parts import towers
from twostream.models.pooling import GAP
from twostream.models.temporal import Pool2d
from twostream.training.optimizers import roles


def build_network(cfg: DictConfig, num_classes: int, *, meta: bool = False) -> nn.Module:
    """Returns the network of the configuration; with `meta`, only its shapes, without memory or weights."""
    streams = {stream.name: stream for stream in streams_in(cfg)}
    for name in streams:
        if hasattr(ResidualNetwork, name):  # it has all that the others have
            raise ValueError(f"streams={name}: a network has an attribute of this name; rename the column")
    backbones = {}
    for stream in streams:
        config, own = backbone_config(cfg, stream), cfg.dropout[side_of(cfg, stream)]
        if takes_weights(config):
            config = OmegaConf.merge(config, {"weights": None if meta else start_of(cfg, stream)})
        backbones[stream] = instantiate(config, dropout=cfg.dropout.rgb if own is None else own)
    temporal, pooling, attention = instantiate(cfg.temporal), instantiate(cfg.pooling) or None, attention_layer(cfg)

    frames = frames_of_clip(cfg)

    def tower(stream: str, pooling: Any = pooling) -> Tower:
        return Tower(
            streams[stream],
            backbones[stream],
            num_classes=num_classes,
            image_size=cfg.transform.size,
            num_frames=frames,
            pooling=pooling,
            attention=attention,
            attention_after=names_of(cfg.attention_after),
        )

    with torch.device("meta" if meta else "cpu"):
        if len(streams) == 1:
            return SingleStreamNetwork(*streams, tower=tower, temporal=temporal)
        fusion = instantiate(cfg.fusion)
        layer = cfg.layer if isinstance(cfg.layer, str) else tuple(cfg.layer)
        align = instantiate(cfg.align)
        joined: dict[str, Any] = {"fusion": fusion, "temporal": temporal, "align": align, "layer": layer}
        joined["streams"] = tuple(streams)
        if not getattr(fusion.func, "takes_levels", False):
            kind = ResidualNetwork if getattr(fusion.func, "enters_units", False) else TwoStreamNetwork
            return kind(tower=tower, two_towers=cfg.two_towers, multi=is_multi(cfg), **joined)
        if cfg.two_towers:
            raise ValueError("two_towers=true: this fusion keeps no tower; choose two_towers=false")
        bare = partial(tower, pooling=None)  # these towers have no classifiers; the heads pool
        return MultiLevelNetwork(tower=bare, pooling=pooling or GAP, dropout=cfg.dropout.rgb, **joined)


def frames_of_clip(cfg: DictConfig) -> int:
    """Returns T: the number of RGB frames of a clip, each with its flow."""
    sampling = instantiate(cfg.sampling)
    return sampling.fixed(1, span_in(cfg, sampling)).shape[1]


def check_effects(cfg: DictConfig, network: nn.Module) -> list[str]:
    """Returns a line for each option that changes nothing in this network.

    Raises ValueError for `init` and `dropout.flow` without effect: the user must have set them, expecting one.
    """
    sides = {side_of(cfg, stream): tower for stream, tower in towers(network).items()}
    for side in ("rgb", "flow"):
        if cfg.init[side] not in (None, REQUIRED) and side not in sides:
            raise ValueError(f"init.{side}={cfg.init[side]}: streams={cfg.streams} has no such tower")
    second = sides.get("flow")
    if cfg.dropout.flow and not any(isinstance(m, nn.Dropout) for m in (second or nn.Identity()).modules()):
        why = "is not there" if second is None else "ends at the fusion"
        raise ValueError(
            f"dropout.flow={cfg.dropout.flow}: the flow tower {why} and has no dropout; leave it out (null)"
        )
    trained, names = set(roles(network).values()), [name for name, _ in network.named_parameters()]
    attended = any(".attention." in name for name in names)
    aligned = [name.split(".")[2] for name in names if name.startswith("align.")]
    fusion_factor, flow_factor = (cfg.optimizer.get(f"{role}_factor", 1) for role in ("fusion", "flow_conv1"))
    nothing = {
        f"optimizer.fusion_factor={fusion_factor}: no fusion layer is trained": (
            fusion_factor != 1 and "fusion" not in trained
        ),
        f"optimizer.flow_conv1_factor={flow_factor}: no first convolution of a flow tower is trained": (
            flow_factor != 1 and "flow_conv1" not in trained
        ),
        f"attention: no layer follows attention_after={list(names_of(cfg.attention_after))} here": (
            attends(cfg) and not attended
        ),
        "align=upconv: the maps are equally large": (
            code_of(cfg.align) is UpconvAlign and not any(part.startswith("upconv") for part in aligned)
        ),
        "align.channels=project: the maps have equally many channels": (
            cfg.align.get("channels") == "project" and "project" not in aligned
        ),
        f"flow_std={cfg.get('flow_std')}: there is no flow tower": (
            cfg.get("flow_std") is not None and "flow" not in streams_of(cfg)
        ),
        "temporal: no network here has maps, so the scores of the frames are averaged": (
            code_of(cfg.temporal) is not Pool2d and not any("conv5" in one.shapes for one in towers(network).values())
        ),
        "two_towers=true: there is one stream": cfg.two_towers and len(streams_of(cfg)) == 1,
        "flow_backbone: there is no flow tower": cfg.get("flow_backbone") is not None and second is None,
    }
    return [f"{line}; this changes nothing" for line, is_so in nothing.items() if is_so]


def attention_layer(cfg: DictConfig) -> Callable[[int], nn.Module]:
    """Returns a function that makes the attention for a number of channels, over each frame or a whole clip."""
    make = instantiate(cfg.attention)
    if cfg.attention_over not in ("frame", "clip"):
        raise ValueError(f"attention_over={cfg.attention_over!r}: choose from frame, clip")
    if cfg.attention_over == "frame" or not attends(cfg):
        return make
    return lambda channels: OverClip(make(channels))


def attends(cfg: DictConfig) -> bool:
    """Whether there is any attention."""
    return code_of(cfg.attention) is not nn.Identity


def check_starts(cfg: DictConfig, network: Any) -> None:
    """Raises ValueError if weights to start from are missing, or if a frozen stream would stay random.

    `network`: of this configuration, on the meta device. Downloads nothing: that comes after all other checks. Does not
    read files of weights either: `check_frozen` finds what they lack.
    """
    given = cfg.get("weights")
    if given not in (None, "imagenet") and given not in [start_of(cfg, stream) for stream in streams_of(cfg)]:
        raise ValueError(f"weights={given}: no backbone here takes it; give backbone.weights=PATH")
    frozen = {id(part) for module in network.modules_below(cfg.train_from) for part in module.modules()}
    for stream in streams_of(cfg):
        backbone, start = getattr(network, stream).backbone, start_of(cfg, stream)
        if start is not None:
            check_weights(backbone, start)
        elif any(id(part) in frozen for part in backbone.modules()):
            raise ValueError(
                f"train_from={cfg.train_from}: the {stream} stream below it would stay random; choose what it starts "
                f"from (weights=imagenet, init.{side_of(cfg, stream)}=RUN_DIR), or train_from=all"
            )


def check_frozen(cfg: DictConfig, network: Any) -> None:
    """Raises ValueError if the weights that a stream started from lack a stage that is frozen."""
    for stream in streams_of(cfg):
        backbone = getattr(network, stream).backbone
        still = {name.split(".")[1] for name, weight in backbone.named_parameters() if not weight.requires_grad}
        if backbone.report and (random := [stage for stage in backbone.report.lacking if stage in still]):
            raise ValueError(
                f"train_from={cfg.train_from}: {' '.join(random)} of the {stream} stream below it would stay random, "
                f"for {backbone.report.origin} does not fit; choose other weights, or train_from=all"
            )


def untrained(cfg: DictConfig, network: nn.Module) -> list[str]:
    """Returns a line that names frozen layers outside of the backbones: nothing has trained them, and nothing will."""
    frozen = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    layers = dict.fromkeys(".".join(name.split(".")[:3]) for name in frozen if ".backbone." not in name)
    names = ", ".join(name.removesuffix(".conv") for name in layers)
    return [f"train_from={cfg.train_from}: {names} stay as they begin, for no training has reached them"] * bool(names)


def without_starts(cfg: DictConfig) -> DictConfig:
    """Returns the configuration of the same network with random values: its weights come later, or do not matter."""
    plain: dict[str, Any] = {"init": {"rgb": None, "flow": None}}
    plain |= {name: {"weights": None} for name in ("backbone", "flow_backbone") if takes_weights(cfg.get(name))}
    return OmegaConf.merge(cfg, plain)  # type: ignore[return-value]


def starts(network: Any) -> dict[str, str]:
    """Returns {stream: what its weights are before training, in words}."""
    backbones = {stream: tower.backbone for stream, tower in towers(network).items()}
    return {name: backbone.report.start if backbone.report else "random" for name, backbone in backbones.items()}


def describe_config(cfg: DictConfig, num_classes: int) -> Description:
    """Returns shapes, parameters and FLOPs of the configured network, without building it in memory."""
    check_streams(cfg)
    return describe(
        build_network(cfg, num_classes, meta=True),
        num_chunks=frames_of_clip(cfg),
        image_size=cfg.transform.size,
        precision=cfg.precision,
        checkpointing=bool(cfg.get("checkpointing")),
    )
