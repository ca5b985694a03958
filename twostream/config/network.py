"""Configuration -> network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from twostream.config.compose import names_of, streams_of
from twostream.description import Description, describe
from twostream.models.fusion import UpconvAlign, ZeroPadAlign
from twostream.models.network import MultiLevelNetwork, OverClip, SingleStreamNetwork, TwoStreamNetwork
from twostream.models.pooling import GAP
from twostream.options import Value, read_table

ALIGN = {"zero_pad": ZeroPadAlign, "upconv": UpconvAlign}


def build_network(cfg: DictConfig, num_classes: int, *, meta: bool = False) -> nn.Module:
    """The network of the configuration; with `meta`, its shape alone: no memory, no weights loaded."""
    streams = streams_of(cfg)
    if cfg.align not in ALIGN:
        raise ValueError(f"align={cfg.align!r}: choose from {', '.join(ALIGN)}")
    backbones = {}
    for stream, config in (("rgb", cfg.backbone), ("flow", cfg.get("flow_backbone") or cfg.backbone)):
        if cfg.init[stream] is not None or meta:
            config = OmegaConf.merge(config, {"weights": None if meta else single_stream_checkpoint(cfg.init[stream])})
        backbones[stream] = instantiate(config, dropout=cfg.dropout[stream])
    shared: dict[str, Any] = {
        "num_classes": num_classes,
        "flow_channels": 2 * cfg.flow.length,
        "temporal": instantiate(cfg.temporal),
        "pooling": instantiate(cfg.pooling) or None,
        "attention": attention_layer(cfg),
        "attention_after": names_of(cfg.attention_after),
        "image_size": cfg.transform.size,
    }
    with torch.device("meta" if meta else "cpu"):
        if len(streams) == 1:
            return SingleStreamNetwork(stream=streams[0], backbone=backbones[streams[0]], **shared)
        fusion = instantiate(cfg.fusion)
        shared |= {
            "backbone": backbones["rgb"],
            "flow_backbone": backbones["flow"],
            "fusion": fusion,
            "align": ALIGN[cfg.align],
            "layer": cfg.layer if isinstance(cfg.layer, str) else tuple(cfg.layer),
        }
        if getattr(fusion.func, "takes_levels", False):
            if cfg.two_towers:
                raise ValueError("two_towers=true: this fusion keeps no tower; choose two_towers=false")
            return MultiLevelNetwork(**{**shared, "pooling": shared["pooling"] or GAP, "dropout": cfg.dropout.rgb})
        return TwoStreamNetwork(two_towers=cfg.two_towers, **shared)


def attention_layer(cfg: DictConfig) -> Callable[[int], nn.Module]:
    """Makes the attention for a number of channels, over each frame or over all frames of a clip."""
    make = instantiate(cfg.attention)
    if cfg.attention_over not in ("frame", "clip"):
        raise ValueError(f"attention_over={cfg.attention_over!r}: choose from frame, clip")
    return make if cfg.attention_over == "frame" else lambda channels: OverClip(make(channels))


def single_stream_checkpoint(path: str) -> str:
    """The checkpoint at `path`, or the best one of the run whose folder it is."""
    best = Path(path) / "checkpoints" / "best.ckpt"
    return str(best) if best.is_file() else path


def require_weights(cfg: DictConfig) -> None:
    """Raises ValueError where weights to start from are no file, before anything is read for a run."""
    for stream, group in (("rgb", "backbone"), ("flow", "flow_backbone" if cfg.get("flow_backbone") else "backbone")):
        path, weights = cfg.init[stream], cfg[group].get("weights")
        if stream not in streams_of(cfg):
            continue
        if path is not None:
            if not Path(single_stream_checkpoint(path)).is_file():
                raise ValueError(
                    f"init.{stream}={path}: must be a checkpoint, or a run folder with checkpoints/best.ckpt"
                )
            continue
        known = read_table().get(cfg[group]["_target_"], {}).get("weights")  # of other networks we know nothing
        if isinstance(known, Value) and weights not in known.rule.choices and not Path(weights).is_file():
            raise ValueError(f"{group}.weights={weights}: no such file; {known.rule.words}")


def describe_config(cfg: DictConfig, num_classes: int) -> Description:
    """Shapes, parameters and FLOPs of the configured network, without building it in memory."""
    return describe(
        build_network(cfg, num_classes, meta=True),
        num_chunks=instantiate(cfg.sampling).fixed(1, cfg.flow.length).shape[1],
        flow_channels=2 * cfg.flow.length,
        image_size=cfg.transform.size,
    )
