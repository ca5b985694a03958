"""The configuration of a finished run, read back from its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from twostream.config.compose import conf_folder
from twostream.config.run import build_system
from twostream.data.history import History
from twostream.system import TwoStreamSystem

CONFIGS = ("config.yaml", "config.json")  # of a run, and of an exported network
# What may be otherwise when a run is evaluated: where its videos lie and how they are read, not what its network is.
CHANGEABLE = ("broken", "data", "decode_timeout", "decoder", "flow.store", "num_workers", "prefetch", "split")

NETWORK = (
    *("backbone", "flow_backbone", "fusion", "temporal", "pooling", "attention", "attention_after", "attention_over"),
    *("layer", "two_towers", "streams", "align", "flow", "sampling", "transform"),
)


def load_config(folder: str | Path) -> DictConfig:
    """The resolved configuration in a run folder.

    Raises ValueError for a folder without one, and where it names code that no option in conf/ does: a folder that
    came from somebody else must not run theirs.
    """
    path = config_file(folder)
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder")
    if not path.is_file():
        cells = sorted(other.parent.name for other in Path(folder).glob("*/config.yaml"))
        hint = f"; name one of its cells, such as {cells[0]}" if cells else ", that train.py writes"
        raise ValueError(f"{folder}: is no run folder: it has no config.yaml{hint}")
    try:
        cfg = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not isinstance(cfg, DictConfig) or "backbone" not in cfg:
        raise ValueError(f"{path}: is no configuration of a run")
    known = known_targets()
    if foreign := [name for name in targets(OmegaConf.to_container(cfg, resolve=True)) if name not in known]:
        raise ValueError(f"{path}: names code that no option of twostream does: {foreign[0]!r}")
    return cfg


def config_file(folder: str | Path) -> Path:
    """Where the configuration of a run, or of an exported network, is or would be."""
    paths = [Path(folder) / name for name in CONFIGS]
    return next((path for path in paths if path.is_file()), paths[0])


def change_config(cfg: DictConfig, settings: Sequence[str]) -> DictConfig:
    """With settings such as `data.root=DIR`; ValueError for one that would make it another network or test."""
    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not equals or not any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE):
            raise ValueError(f"--set {setting!r}: KEY=VALUE, where KEY is or begins with: {', '.join(CHANGEABLE)}")
        if "_target_" in setting:
            raise ValueError(f"--set {setting!r}: cannot name code")
        if OmegaConf.select(cfg, key, default=settings) is settings:  # the default is what no file can hold
            raise ValueError(f"--set {setting!r}: the run's config.yaml has no {key}")
    return OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(settings)))  # type: ignore[return-value]


def build_trained_system(cfg: DictConfig, classes: Sequence[str], history: History) -> TwoStreamSystem:
    """The system of a run, whose weights come out of its checkpoint: those it started from are not looked for."""
    plain: dict[str, Any] = {"init": {"rgb": None, "flow": None}, "compile": False}  # shapes vary: no compiling
    for name in ("backbone", "flow_backbone"):
        if cfg.get(name):
            plain[name] = {"weights": None}
    return build_system(OmegaConf.merge(cfg, plain), tuple(classes), history)  # type: ignore[arg-type]


def differing_parts(one: DictConfig, other: DictConfig) -> list[str]:
    """In which parts of the network, or in which data set, two configurations differ; weights to start from may."""

    def part(cfg: DictConfig, name: str) -> Any:
        value = OmegaConf.to_container(cfg, resolve=True).get(name)  # type: ignore[union-attr]
        return (
            {key: setting for key, setting in value.items() if key != "weights"} if isinstance(value, dict) else value
        )

    differing = [name for name in NETWORK if part(one, name) != part(other, name)]
    return differing + (["data"] if one.data["_target_"] != other.data["_target_"] else [])


def known_targets() -> frozenset[str]:
    """All code that conf/ names."""
    files = conf_folder().rglob("*.yaml")
    return frozenset(name for file in files for name in targets(OmegaConf.to_container(OmegaConf.load(file))))


def targets(config: Any) -> Iterator[str]:
    """Every `_target_` anywhere in a configuration.

    >>> list(targets({"a": {"_target_": "x.Y", "b": [{"_target_": "z"}]}}))
    ['x.Y', 'z']
    """
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        config = list(config.values())
    for value in config if isinstance(config, list) else ():
        yield from targets(value)
