"""Reads the configuration of a finished run from its folder."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from twostream.config.older import mirrors, scores_relu
from twostream.config.trust import check_trust, how_to_trust, is_trusted, plugin_folders, targets
from twostream.config.values import check_values
from twostream.files.errors import ExpectedError
from twostream.files.json_yaml import read_yaml_text
from twostream.options import conf_folder
from twostream.runs.old_names import with_present_names

CONFIGS = ("config.yaml", "config.json")  # of a run, and of an exported network
# What may change when a run is evaluated: where its videos lie and how they are read, but not what its network is.
CHANGEABLE = ("broken", "data", "decode_timeout", "decoder", "flow.store", "num_workers", "prefetch", "split")

NETWORK = (
    *("backbone", "flow_backbone", "fusion", "temporal", "pooling", "attention", "attention_after", "attention_over"),
    *("layer", "two_towers", "streams", "align", "flow", "flow_std", "sampling", "transform"),
)


def load_config(folder: str | Path, *, trust: Sequence[str] = ()) -> DictConfig:
    """Returns the resolved configuration in a run folder.

    Raises ValueError if there is none, or if it names code that is neither named by an option in conf/ nor part of a
    package in `trust` or of an installed plug-in: a folder from somebody else must not run its author's code.
    """
    path = require_run(folder)
    cfg = read_config(path)
    if "backbone" not in cfg:
        raise ValueError(f"{path}: is no configuration of a run")
    check_targets(cfg, path, trust=trust)
    if isinstance(cfg.get("data"), DictConfig):
        cfg.data.mirror = mirrors(cfg)  # older runs do not say it
    for name in ("backbone", "flow_backbone"):
        if (relu := scores_relu(cfg.get(name))) is not None:
            cfg[name].relu = relu  # older runs do not say this either
    return cfg


def require_run(folder: str | Path) -> Path:
    """Returns the path of the configuration in a run folder. Raises ValueError if there is none."""
    path = config_file(folder)
    if Path(folder).is_file():
        raise ValueError(f"{folder}: is a file; name the run folder that training has left")
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder")
    if not path.is_file():
        cells = sorted(p.parent.name for p in Path(folder).glob("*/config.yaml") if not p.parent.name.startswith("."))
        hint = f"; name one of its cells, such as {cells[0]}" if cells else ", which training writes"
        raise ValueError(f"{folder}: is no run folder: it has no config.yaml{hint}")
    return path


def read_config(path: Path) -> DictConfig:
    """Returns a configuration, which may be somebody else's, as plain values; renames code that has moved since.

    Raises ValueError if the file is no configuration, or contains `${…}`, which would look up this machine's
    environment and files.
    """
    text = read_yaml_text(path)
    try:
        cfg = OmegaConf.load(io.StringIO(text))
        values: Any = OmegaConf.to_container(cfg)
        found = [value for value in leaves(values) if isinstance(value, str) and "${" in value]
    except Exception as error:  # every kind of damage is an exception of its own
        raise ValueError(f"{path}: cannot be read ({type(error).__name__})") from None
    if found:
        raise ValueError(f"{path}: {found[0]!r}: values that are looked up when read are not taken from others")
    if not isinstance(cfg, DictConfig):
        raise ValueError(f"{path}: is no configuration of a run")
    return DictConfig(with_present_names(values))


@contextmanager
def errors_name_file(path: str | Path) -> Iterator[None]:
    """Turns errors inside the block into a ValueError that names `path`, a file that may be somebody else's.

    OSError, ImportError and ExpectedError pass unchanged.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if type(error).__name__ == "InstantiationException" and error.__cause__ else error
        if isinstance(cause, (OSError, ImportError, ExpectedError)):
            raise cause from None
        kind = "" if isinstance(cause, ValueError) else f"cannot be built from: {type(cause).__name__}: "
        raise ValueError(f"{path}: {kind}{cause}") from error


def config_file(folder: str | Path) -> Path:
    """Returns the path of the configuration of a run or of an exported network, even if it does not exist."""
    paths = [Path(folder) / name for name in CONFIGS]
    return next((path for path in paths if path.is_file()), paths[0])


def change_config(cfg: DictConfig, settings: Sequence[str], *, trust: Sequence[str] = ()) -> DictConfig:
    """Changes settings such as `data.root=DIR`. Raises ValueError for one that would change the network or the test."""
    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not equals or not any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE):
            raise ValueError(f"--set {setting!r}: KEY=VALUE, where KEY is or begins with: {', '.join(CHANGEABLE)}")
        if OmegaConf.select(cfg, key, default=settings) is settings:  # a default that no file can hold
            raise ValueError(f"--set {setting!r}: the run's config.yaml has no {key}")
    changed = OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(settings)))
    check_values(changed, only=[setting.partition("=")[0] for setting in settings])  # type: ignore[arg-type]
    check_targets(changed, f"--set {' '.join(map(repr, settings))}", trust=trust)  # type: ignore[arg-type]
    return changed  # type: ignore[return-value]


def differing_parts(one: DictConfig, other: DictConfig) -> list[str]:
    """Returns in which parts of the network, or "data", two configurations differ; ignores weights to start from."""

    def part(cfg: DictConfig, name: str) -> Any:
        value = OmegaConf.to_container(cfg, resolve=True).get(name)  # type: ignore[union-attr]
        return (
            {key: setting for key, setting in value.items() if key != "weights"} if isinstance(value, dict) else value
        )

    differing = [name for name in NETWORK if part(one, name) != part(other, name)]
    return differing + (["data"] if one.data["_target_"] != other.data["_target_"] else [])


def check_targets(cfg: DictConfig, origin: object, *, trust: Sequence[str] = (), folders: Sequence[Path] = ()) -> None:
    """Raises ValueError if a configuration names code that is neither in an option of the same group nor trusted.

    `folders`: folders of further options that the user has named. Raises ImportError if a trusted package lacks the
    code.
    """
    for name, group in own_targets(cfg, trust=trust, folders=folders):
        place = f" as {group}" if group else ""
        raise ValueError(f"{origin}: names code that no option of twostream does: {name!r}{place}{how_to_trust(name)}")


def own_targets(
    cfg: DictConfig, *, trust: Sequence[str] = (), folders: Sequence[Path] = ()
) -> Iterator[tuple[str, str]]:
    """Yields (name, group) of the code that neither an option of the group names nor a trusted package holds."""
    trust, known = check_trust(trust), known_targets(tuple(folders))
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    named = [(name, group) for group, value in values.items() for name in targets(value)]
    named += [(str(values["_target_"]), "")] if "_target_" in values else []
    for name, group in named:
        if name not in known.get("backbone" if group == "flow_backbone" else group, ()) and not is_trusted(name, trust):
            yield name, group


@cache
def known_targets(further: tuple[Path, ...] = ()) -> Mapping[str, frozenset[str]]:
    """Returns {group: all code named by its options} of conf/, of plug-ins and of the folders `further`."""
    known: dict[str, set[str]] = {}
    for folder, file, values in option_files(further):
        whole = file.parent == folder or file.read_text(encoding="utf-8").startswith("# @package _global_")
        for group, value in values.items() if whole else [(file.parent.name, values)]:
            known.setdefault(group, set()).update(targets(value))
    return {group: frozenset(names) for group, names in known.items()}


@cache
def own_interpolations(*further: str) -> frozenset[str]:
    """Returns the values `${…}` in the options of conf/, of plug-ins and of the folders `further`."""
    contents = [values for _, _, values in option_files(map(Path, further))]
    return frozenset(str(value) for values in contents for value in leaves(values) if "${" in str(value))


def option_files(further: Iterable[Path]) -> Iterator[tuple[Path, Path, Any]]:
    """Yields (folder, file, content) of all options: of conf/, of plug-ins, and of the typed folders `further`."""
    for folder in (conf_folder(), *(folder for _, folder in plugin_folders()), *further):
        for file in folder.rglob("*.yaml"):
            yield folder, file, OmegaConf.to_container(OmegaConf.load(file))


def leaves(config: Any) -> Iterator[Any]:
    """Yields every value and key anywhere in a configuration.

    >>> list(leaves({"a": [1, {"b": "c"}]}))
    ['a', 1, 'b', 'c']
    """
    if isinstance(config, dict):
        config = [part for item in config.items() for part in item]
    if not isinstance(config, list):
        yield config
        return
    for value in config:
        yield from leaves(value)
