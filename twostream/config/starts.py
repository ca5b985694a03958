"""What the streams of a network start from."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from twostream.config.older import scores_relu
from twostream.config.streams import side_of
from twostream.files.json_yaml import read_yaml
from twostream.options.command import train_command

REQUIRED = "required"  # of `init`: the experiment starts from trained streams, which the user has to name


def start_of(cfg: DictConfig, stream: str) -> str | None:
    """Returns what the tower of a stream starts from: a checkpoint of `init`, the backbone's weights, or None (random).

    Raises ValueError if `init` names no checkpoint, or an experiment needs trained streams that were not named.
    """
    side = side_of(cfg, stream)
    if cfg.init[side] == REQUIRED:
        name = backbone_config(cfg, stream)["_target_"].rpartition(".")[2]
        paper = "st" if name.startswith("resnet") else f"t3_{name}"  # experiments: st_spatial, t3_vgg_m_spatial
        kind = {"rgb": "spatial", "flow": "temporal"}[side]
        raise ValueError(
            f"init.{side}=required: this experiment starts from trained streams; train one with {train_command()} "
            f"experiment={paper}_{kind} data.root=DIR split={cfg.split}, and give its run folder: "
            f"init.{side}=RUN_DIR"
        )
    if (path := cfg.init[side]) is not None:
        if not Path(checkpoint := single_stream_checkpoint(path)).is_file():
            raise ValueError(f"init.{side}={path}: must be a checkpoint, or a run folder with checkpoints/best.ckpt")
        if not takes_weights(backbone_config(cfg, stream)):
            raise ValueError(f"init.{side}={path}: this backbone has no option `weights` that it could be given by")
        check_relu(cfg, stream, checkpoint)
        return checkpoint
    return backbone_config(cfg, stream).get("weights")


def backbone_config(cfg: DictConfig, stream: str) -> DictConfig:
    """Returns the options of the backbone of a stream."""
    return (cfg.get("flow_backbone") or cfg.backbone) if side_of(cfg, stream) == "flow" else cfg.backbone


def takes_weights(backbone: DictConfig | None) -> bool:
    """Whether weights can be given to a backbone: its option `weights`, which one of the user's own need not have."""
    return backbone is not None and "weights" in backbone


def check_relu(cfg: DictConfig, stream: str, checkpoint: str) -> None:
    """Raises ValueError if one of two runs, this one and the one a stream starts from, has a ReLU behind its scores.

    The weights fit both. A checkpoint outside of a run folder does not say which, and is accepted.
    """
    config = Path(checkpoint).absolute().parent.parent / "config.yaml"
    ours = scores_relu(backbone_config(cfg, stream))
    begun = read_yaml(config) if ours is not None and config.is_file() else None
    if not isinstance(begun, dict):
        return
    side = side_of(cfg, stream)
    theirs = scores_relu((begun.get("flow_backbone") if side == "flow" else None) or begun.get("backbone"))
    if theirs is not None and theirs != ours:
        group = "flow_backbone" if side == "flow" and cfg.get("flow_backbone") else "backbone"
        raise ValueError(
            f"init.{side}={cfg.init[side]}: was trained with {group}.relu={str(theirs).lower()}, "
            f"so its scores would be others here; give {group}.relu={str(theirs).lower()}"
        )


def single_stream_checkpoint(path: str) -> str:
    """Returns the best checkpoint if `path` is a run folder, or else `path`."""
    best = Path(path) / "checkpoints" / "best.ckpt"
    return str(best) if best.is_file() else path
