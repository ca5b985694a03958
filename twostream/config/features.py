"""What was typed -> a network to read at a layer, and what its features depend on."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from twostream.config.compose import compose_config, streams_of
from twostream.config.loaded import load_run
from twostream.config.network import build_network, frames_of_clip
from twostream.config.probe import check_given, described
from twostream.config.saved import config_file, errors_name_file
from twostream.config.starts import start_of
from twostream.config.streams import check_streams
from twostream.config.view import build_view
from twostream.data.provenance import FRAMES_VERSION
from twostream.data.windows import View
from twostream.models.backbone.weights import check_weights
from twostream.models.network.parts import towers
from twostream.models.network.reading import check_layer, parameters_below, read
from twostream.probe.store import network_digest

CLASSES = 1000  # those of ImageNet: where no run says another number


class Recipe(NamedTuple):
    """A network and its layer, as they were typed: short enough to be sent to other processes, which open it anew."""

    layer: str
    run: str | None = None  # a run folder; None: `overrides` name what the network starts from
    overrides: tuple[str, ...] = ()
    config_dir: str | None = None
    trust: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        return self.run or " ".join(self.overrides)


class Opened(NamedTuple):
    """`settings`: all that features depend on besides the video and its windows, as plain values."""

    network: nn.Module
    view: View
    settings: dict[str, Any]


def open_recipe(recipe: Recipe) -> Opened:
    """Opens a network. Raises ValueError if it has no such layer, or if nothing has trained what is below the layer."""
    if recipe.run is None:
        cfg: Any = compose_config(recipe.overrides, config_dir=recipe.config_dir)
        network, view = pretrained(cfg, recipe.layer), build_view(cfg)
    else:
        run = load_run(recipe.run, trust=recipe.trust)
        cfg, network = run.cfg, run.system.network
        check_layer(network, recipe.layer)
        with errors_name_file(config_file(recipe.run)):
            view = build_view(cfg)
    return Opened(network, view, settings_of(cfg, network, view, recipe.layer))


def pretrained(cfg: DictConfig, layer: str) -> nn.Module:
    """Returns the network of a configuration with the weights that training would start from.

    Raises ValueError for a layer that it does not have, and if the layer depends on weights that would be random.
    """
    check_streams(cfg)
    if cfg.flow.store:
        raise ValueError(f"flow.store={cfg.flow.store}: features compute the flow of every frame; leave it out")
    shapes: Any = build_network(cfg, CLASSES, meta=True)
    check_layer(shapes, layer)
    check_given(cfg)
    for stream in streams_of(cfg):
        check_weights(getattr(shapes, stream).backbone, str(start_of(cfg, stream)))
    torch.manual_seed(cfg.seed)  # of what is not read
    network = build_network(cfg, CLASSES).eval()
    given = {
        f"{stream}.backbone.{name}"
        for stream, tower in towers(network).items()
        for name in (*tower.backbone.report.loaded, *tower.backbone.report.adapted)
    }
    if random := sorted(parameters_below(network, layer, blank_clip(cfg, network)) - given):
        modules = list(dict.fromkeys(name.rpartition(".")[0] for name in random))
        more = f" and {len(modules) - 3} more" if len(modules) > 3 else ""
        raise ValueError(
            f"--layer {layer}: would be random: no weights were given for {', '.join(modules[:3])}{more}; choose a "
            "layer before that, other weights, or a RUN_DIR"
        )
    return network


def settings_of(cfg: DictConfig, network: nn.Module, view: View, layer: str) -> dict[str, Any]:
    """Returns what the features depend on; `columns` says in which of them each part of the layer is."""
    with torch.inference_mode():
        found = read(network, layer, blank_clip(cfg, network))
    columns, end = {}, 0
    for part, vectors in found.items():
        columns[part] = [end, end := end + vectors.shape[1]]
    return {
        "layer": layer,
        "columns": columns,
        "weights": network_digest(network, ()),
        "streams": [described(stream) for stream in view.streams],
        "transform": OmegaConf.to_container(cfg.transform, resolve=True),
        "flow": {**view.flow.settings(), "length": view.flow.length} if "flow" in streams_of(cfg) else None,
        "decoding": FRAMES_VERSION,
    }


def blank_clip(cfg: DictConfig, network: nn.Module) -> list[Tensor]:
    """Returns a clip of zeros, of the shapes (1, t, c, h, w) of the network's streams."""
    frames, side = frames_of_clip(cfg), cfg.transform.size
    return [torch.zeros(1, frames, tower.in_channels, side, side) for tower in towers(network).values()]
