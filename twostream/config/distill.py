"""Configuration -> the teacher of a network, and whether both fit together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from twostream.config.compose import streams_of
from twostream.config.data import build_flow
from twostream.config.network import build_network, frames_of_clip, without_starts
from twostream.config.sampling import span_in
from twostream.config.taught import as_seen, seen_streams, teacher_config, teacher_folder
from twostream.config.trained import check_shapes, errors_say_misfit, find_checkpoint, read_trained
from twostream.data.history import History
from twostream.files.digest import sha256
from twostream.models.memory_order import channels_last
from twostream.models.network.parts import towers
from twostream.models.network.tower import SCORES, check_choice, names_after, names_before
from twostream.options import NO_VALUES, shown
from twostream.options.streams import COMPUTED
from twostream.runs.checkpoint import SAFE
from twostream.runs.sweep import NO_DIFFERENCE
from twostream.training.distill import Teacher

OF_TESTS = ("test_views", "test_stride")  # of sampling: no clip of training depends on them
REPEATED = ("seed", "split", "init")  # of a run: what may differ between runs that repeat one setting


def check_teacher(cfg: DictConfig, network: Any) -> None:
    """Raises ValueError for a teacher that is not finished, or that does not fit: other clips, other features.

    `network`: that of `cfg`, on the meta device.
    """
    if (folder := teacher_folder(cfg)) is None:
        return
    before, name = teacher_config(folder), f"distill.from={folder}"
    checkpoint = find_checkpoint(folder)
    if checkpoint.name != SAFE and not (folder / "results.json").is_file():
        raise ValueError(f"{name}: has no results.json; it has not finished")
    seen_streams(cfg)
    theirs, ours = (clips_of(each, streams_of(before)) for each in (before, cfg))
    if differing := [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]:
        values = (f"{key}={shown(theirs.get(key))} there, {shown(ours.get(key))} here" for key in differing[:3])
        raise ValueError(f"{name}: both have to see the same clips: {'; '.join(values)}")
    sampling = instantiate(cfg.sampling)
    taught, alone = span_in(as_seen(cfg), sampling), span_in(cfg, sampling)
    if alone not in (0, taught):  # 0: frames in a row, which are the same; with a teacher the last has its stack, too
        raise ValueError(
            f"{name}: with the teacher a stack is {taught} long and without it {alone}, so clips would differ; give "
            "flow.length and diff.length the same value"
        )
    teacher = build_network(before, 10, meta=True)
    layer = layer_of(cfg, network)
    check_layer(layer, teacher, name)
    there, here = (width(one, layer, each) for one, each in ((teacher, before), (network, cfg)))
    if there != here:
        raise ValueError(
            f"distill.layer={layer}: the teacher has {there} features after it, this network {here}; choose another "
            "layer, such as fc8, the scores, or networks of equal width"
        )


def clips_of(cfg: DictConfig, streams: Sequence[str]) -> dict[str, Any]:
    """Returns what clips of training depend on, as far as networks that see `streams` need it, by its dotted name."""
    values: dict[str, Any] = {"transform.size": cfg.transform.size, **group_values(cfg, "sampling", OF_TESTS)}
    if "flow" in streams:
        flow = build_flow(cfg)
        values |= {f"flow.{key}": value for key, value in {**flow.settings(), "length": flow.length}.items()}
    if "diff" in streams:
        values |= group_values(cfg, "diff")
    if any(stream not in COMPUTED for stream in streams):
        values |= group_values(cfg, "column")
    return values


def group_values(cfg: DictConfig, group: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the values of a group by their dotted names; by its own name, what the group makes."""
    values: Any = OmegaConf.to_container(cfg.get(group, OmegaConf.create()), resolve=True)
    named = {f"{group}.{key}": value for key, value in values.items() if key not in (*without, *NO_VALUES)}
    return {group: str(values["_target_"]).rpartition(".")[2], **named} if "_target_" in values else named


def layer_of(cfg: DictConfig, network: Any) -> str:
    """Returns `distill.layer`, or the last stage before the scores. Raises ValueError unless the network has it."""
    [tower] = towers(network).values()
    layer = cfg.distill.layer or names_before(SCORES, tower.stages)[-1]
    check_choice("distill.layer", layer, tuple(tower.stages))
    if layer != SCORES and not tower.backbone.reads_map(layer):
        raise ValueError(
            f"distill.layer={layer}: after it {tower.backbone.name} goes on with tokens, not with a map; choose fc8"
        )
    return layer


def check_layer(layer: str, teacher: Any, name: str) -> None:
    """Raises ValueError if the teacher has no features after `layer`, or those of its first stream alone."""
    if not hasattr(teacher, "layers"):  # one stream
        check_choice(f"{name}: distill.layer", layer, tuple(getattr(teacher, teacher.streams[0]).stages))
        return
    fused = None if hasattr(teacher, "heads") else next(iter(teacher.layers), None)
    if fused is None:
        raise ValueError(
            f"{name}: none of its stages goes on with both streams; choose a teacher of one stream, or one that fuses "
            "maps or vectors into a tower"
        )
    stages = tuple(getattr(teacher, teacher.streams[0]).stages)
    check_choice(f"{name}: distill.layer", layer, [fused, *names_after(fused, stages)])


def width(network: Any, layer: str, cfg: DictConfig) -> int:
    """Returns how many features a network on the meta device has after a stage."""
    size, channels = cfg.transform.size, [tower.in_channels for tower in towers(network).values()]
    clips = [torch.zeros(1, frames_of_clip(cfg), c, size, size, device="meta") for c in channels]
    with torch.no_grad():
        return network.eval()(*clips, features=layer)[1].shape[1]


def build_teacher(cfg: DictConfig, network: Any, classes: Sequence[str]) -> Teacher | None:
    """Returns the teacher of a network, with its weights, or None. Raises ValueError if it knows other classes."""
    if (folder := teacher_folder(cfg)) is None:
        return None
    before = teacher_config(folder)
    path, content = read_trained(folder)
    check_classes(folder, content["classes"], classes)
    weights = {key.removeprefix("network."): value for key, value in content["state_dict"].items()}
    with errors_say_misfit(path, folder), torch.random.fork_rng(devices=[]):  # training draws as without a teacher
        check_shapes(before, content)
        teacher = build_network(without_starts(before), len(classes))
        teacher.load_state_dict(weights)
    if cfg.channels_last:
        channels_last(teacher)
    seen, theirs, layer = seen_streams(cfg), streams_of(before), layer_of(cfg, network)
    facts = {
        "run": folder.absolute().name,
        "streams": list(theirs),
        "weights": sha256(path),
        "settings": settings_digest(before),
        "layer": layer,
        "weight": float(cfg.distill.weight),
    }
    return Teacher(teacher, sees=[seen.index(stream) for stream in theirs], layer=layer, facts=facts)


def check_classes(folder: Path, theirs: Sequence[str], ours: Sequence[str]) -> None:
    """Raises ValueError unless the teacher tells the same classes apart, in the same order."""
    if list(theirs) == list(ours):
        return
    if len(theirs) != len(ours):
        raise ValueError(f"distill.from={folder}: knows {len(theirs)} classes, the data have {len(ours)}")
    place = next(place for place, (one, other) in enumerate(zip(theirs, ours, strict=True)) if one != other)
    raise ValueError(
        f"distill.from={folder}: its class {place + 1} is {theirs[place]}, that of the data is {ours[place]}"
    )


def settings_digest(cfg: DictConfig) -> str:
    """Returns a short hash of what a run was, whatever its seed and split: runs that repeat one setting share it."""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    kept = {key: value for key, value in values.items() if key not in (*NO_DIFFERENCE, *REPEATED)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:8]


def teacher_history(cfg: DictConfig) -> History:
    """Returns what the teacher was trained on; nothing if there is none."""
    if (folder := teacher_folder(cfg)) is None:
        return History()
    return History.from_content(read_trained(folder)[1])


def unused(cfg: DictConfig) -> list[str]:
    """Returns a line for each option of `distill` that changes nothing, because there is no teacher."""
    if OmegaConf.select(cfg, "distill.from") is not None:
        return []
    given = [] if OmegaConf.select(cfg, "distill.layer") is None else [f"distill.layer={cfg.distill.layer}"]
    return [f"{line}: there is no teacher (distill.from); this changes nothing" for line in given]
