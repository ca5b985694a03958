"""Every file under conf/ composes and builds; the README's table names every option."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from paper_numbers import PAPER_PARAMETERS

from twostream.config.compose import compose_config
from twostream.config.data import build_flow
from twostream.config.network import build_network, describe_config
from twostream.config.run import build_system
from twostream.config.streams import streams_in
from twostream.data.clip import Clip
from twostream.models.network.description import count_parameters
from twostream.options import conf_folder

CONF = conf_folder()
OPTIONS = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.glob("*/*.yaml"))
EXPERIMENTS = [option for option in OPTIONS if option.startswith("experiment/")]
CLIPS = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d")
NEEDED = {  # what an option cannot do without
    "backbone/timm": ["backbone.name=resnet10t"],
    **{f"backbone/{name}": ["transform.size=224"] for name in ("vgg_m", "vgg16", "vgg16_bn")},
    **{f"backbone/{name}": ["sampling=clip"] for name in (*CLIPS, "swin3d_t", "swin3d_s", "swin3d_b", "mvit_v2_s")},
}


BY_A_TRAINING = ("experiment", "fusion", "temporal", "pooling", "attention")  # below; test_every_layer_trains


@pytest.mark.long
@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.startswith(BY_A_TRAINING)])
def test_every_option_composes_and_builds_a_network(option: str) -> None:
    group, name = option.split("/")
    choice = f"{group}=[{name}]" if group == "logger" else f"{group}={name}"
    cfg = compose_config([choice, *NEEDED.get(option, [])])
    if option == "backbone/timm":
        pytest.importorskip("timm")
    with torch.device("meta"):
        assert describe_config(cfg, 11).parameters > 0
    assert build_flow(cfg).length == cfg.flow.length
    for group_name in ("sampling", "transform"):
        assert not isinstance(instantiate(cfg[group_name]), dict | partial)


UNTRAINED = ["weights=null", "init.rgb=null", "init.flow=null"]  # no trained streams here


@pytest.mark.long
@pytest.mark.parametrize("option", EXPERIMENTS)
def test_every_experiment_has_the_parameters_of_the_paper(option: str) -> None:
    name = option.split("/")[1]
    description = describe_config(compose_config([f"experiment={name}"]), 101)
    assert description.parameters == PAPER_PARAMETERS[name]


SOFT = {"actionvlad": ["pooling.alpha=1"]}  # with 1000, assignments at random are so hard that no gradient passes


@pytest.mark.long
@pytest.mark.parametrize("option", EXPERIMENTS)
def test_every_experiment_takes_a_step_at_reduced_size(option: str) -> None:
    """Stochastic gradient descent moves every tensor that is to be trained, and no other.

    Networks are a sixteenth as wide, or, where they have no such option, see small images and short clips.
    """
    torch.manual_seed(0)  # once in a while all of a narrow layer is below zero, and nothing moves
    name = option.split("/")[1]
    narrow = ["backbone=resnet18"] if name.startswith("st_") and name != "st_resnet" else []  # which needs 1×1 filters
    cfg = compose_config([f"experiment={name}", *narrow, *UNTRAINED, *SOFT.get(name, [])])
    if "width" not in cfg.backbone:
        cfg.transform.size = 64
    for backbone in (cfg.backbone, cfg.get("flow_backbone") or {}):
        if "width" in backbone:
            backbone.width = 0.0625
    if "num_frames" in cfg.sampling:
        cfg.sampling.num_frames = 8
    t, size = 8 if "num_frames" in cfg.sampling else 2, cfg.transform.size
    system = build_system(cfg, ("a", "b", "c"))
    frames = [
        torch.randint(*stream.range, (2, 1, t, stream.channels, size, size), dtype=getattr(torch, stream.dtype))
        for stream in streams_in(cfg)
    ]
    clip = Clip(frames[0], frames[-1], label=torch.tensor([0, 2]), index=torch.arange(2))
    before = {key: value.detach().clone() for key, value in system.network.named_parameters()}
    optimizer = system.make_optimizer(system.network)
    for group in optimizer.param_groups:
        group["lr"] *= 1000  # so that the smallest gradients can be seen
    system.train()
    system.on_train_epoch_start()
    heads, _ = system(clip)
    system.loss(heads, clip.label).backward()
    optimizer.step()
    moved = {key for key, value in system.network.named_parameters() if not torch.equal(value, before[key])}
    assert moved == {key for key, value in system.network.named_parameters() if value.requires_grad}
    assert (cfg.train_from == "all") == (len(moved) == len(before))


def test_the_test_protocol_of_the_paper_has_20_predictions() -> None:
    cfg = compose_config(["experiment=t5_vgg16_two_towers"])
    starts = instantiate(cfg.sampling).fixed(200, 10)
    boxes = instantiate(cfg.transform).fixed(240, 320)
    assert starts.shape == (10, 5)
    assert len(starts) * len(boxes) == 20
    assert sum(box.flip for box in boxes) == len(boxes) / 2
    assert all((box.height, box.width) == (1.0, 1.0) for box in boxes)
    assert np.all(np.diff(starts, axis=1) == np.diff(starts, axis=1)[0, 0])


def test_the_command_line_wins_over_experiment_and_experiment_over_data() -> None:
    assert compose_config(["data=ucf101"]).backbone["_target_"].endswith("resnet18")
    assert compose_config(["experiment=t1_conv"]).backbone["_target_"].endswith("vgg_m")
    cfg = compose_config(["experiment=t1_conv", "backbone=vgg16", "batch_size=7", "optimizer=adamw"])
    assert cfg.backbone["_target_"].endswith("vgg16")
    assert (cfg.batch_size, cfg.optimizer["_target_"]) == (7, "twostream.training.optimizers.adamw")


def test_another_backbone_for_the_flow_stream() -> None:
    cfg = compose_config(["experiment=t4_conv3d_pool3d"])
    network = build_network(cfg, 101, meta=True)
    assert (network.rgb.backbone.name, network.flow.backbone.name) == ("vgg16", "vgg_m")
    assert count_parameters(network.rgb.backbone) - count_parameters(network.flow.backbone) > 0


def test_readme_names_every_option() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    missing = []
    for option in OPTIONS:
        group, name = option.split("/")
        rows = [line for line in readme.splitlines() if line.startswith(f"| `{group}`")]
        if group != "experiment" and not any(f"`{name}`" in row for row in rows):
            missing.append(option)
    assert not missing
