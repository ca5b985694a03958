"""`twostream probe`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from twostream.cli.code import add_overrides, composed
from twostream.config.older import is_multi
from twostream.config.paths import check_paths
from twostream.files.errors import checked
from twostream.files.json_yaml import read_yaml
from twostream.files.progress import begins
from twostream.options import conf_folder
from twostream.options.arguments import Parser, value_of

VIEWS = 8
# Each tower scores single frames, and has no untrained layer before its classifier.
GROUPS = {"fusion": "sum", "temporal": "pool2d", "attention": "none"}
PLAIN = {"layer": "softmax", "two_towers": False, "train_from": "all"}


def probe(arguments: Sequence[str]) -> None:
    """Measure in minutes, without training, how well frozen networks tell your classes apart by RGB, flow, and both."""
    parser = Parser(
        "twostream probe", probe.__doc__, examples=("data=folder data.root=DIR backbone=resnet18 --folds 5",)
    )
    add_overrides(parser)
    count = value_of("whole >= 2")
    parser.add_argument(
        "--folds",
        type=count,
        metavar="K",
        help="cross-validation over all videos, groups kept together (default: the split, if there is one; else 5)",
    )
    parser.add_argument(
        "--views",
        type=value_of("whole >= 1, <= 100"),
        metavar="N",
        default=VIEWS,
        help="look at so many places of each video",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder to write into (default: probes/DATA-BACKBONE-SPLIT)"
    )
    options = parser.parse_intermixed_args(arguments)
    with checked():
        check_paths(cfg := late(composed(options)))
        if is_multi(cfg):
            raise ValueError("data.labels=multi: a probe fits one label a video; train a network: twostream train …")
    begins("Loading PyTorch and the networks")
    from twostream.cli.work.probe import probe as run_probe

    run_probe(cfg, folds=options.folds, views=options.views, out=options.out, typed=options.overrides)


def late(cfg: DictConfig) -> DictConfig:
    """Returns the configuration as it was typed, whatever network of both streams that is, with late fusion."""
    own = {group: read_yaml(conf_folder() / group / f"{name}.yaml") for group, name in GROUPS.items()}
    for name, value in (own | PLAIN).items():
        OmegaConf.update(cfg, name, value, merge=False)
    return cfg
