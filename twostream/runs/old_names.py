"""What the configurations of old runs name otherwise than today, or do not say yet, so that they can still be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MOVED = {  # where it was when the first runs named it -> where it is
    "twostream.data.synthetic.": "twostream.data.sources.moving_patterns.",
    "twostream.loggers.": "twostream.training.loggers.",
    "twostream.optimization.": "twostream.training.optimizers.",
    "twostream.processes.": "twostream.training.distributed.",
}
UNSAID = {  # the code that a part of a configuration names -> what it did before the value could be given
    "twostream.data.sources.moving_patterns.MovingPatterns": {"mirror": False},
    "twostream.models.backbone.squeezenet1_0": {"relu": True},
}
DEFAULTS = {  # the code that a part names -> {value that changes no result: (its default now, that of the first runs)}
    "twostream.data.sources.moving_patterns.MovingPatterns": {"cache": ("auto", None)},
    "pytorch_lightning.Trainer": {"accelerator": ("auto", "cpu")},  # in one process: others have a `strategy`
    None: {"decoder": ("auto", "pyav")},  # a plain value
}
GROUPED = {  # plain values that have become groups -> {a value: the option that does what it did}
    "align": {
        name: {"_target_": f"twostream.models.fusion.{code}", "_partial_": True, "channels": "equal"}
        for name, code in (("zero_pad", "ZeroPadAlign"), ("upconv", "UpconvAlign"))
    }
}
LATER = {  # options that runs of before did not have -> the value with which they do what those did
    "flow.engine": "opencv",
    "trainer.gradients": "float32",
    "flow.together": 32,
    "optimizer.fused": "auto",
    "matmul_precision": None,
    "checkpointing": False,
    "backbone.inflate": False,
    "flow_backbone.inflate": False,
    "data.folds": None,
    "data.decode": "cpu",
    "flow.precision": "float32",
    "distill": {"from": None, "layer": None, "weight": 50.0},
    "data.labels": "single",
    "diff": {"length": 5, "std": None},
    "loss": {"class_weights": None, "focal": None},
    "sampler": None,
    "column": {"colour": "rgb", "mirror": "plain", "mean": None, "std": None, "first_layer": "summed"},
}


def without_later(config: Any) -> Any:
    """Returns plain values without options of LATER that do what was done before, so that hashes stay the same.

    >>> without_later({"optimizer": {"fused": "auto"}, "matmul_precision": "high"})
    {'optimizer': {}, 'matmul_precision': 'high'}
    """

    def kept(values: Any, prefix: str = "") -> Any:
        if not isinstance(values, dict):
            return values
        names = {key: f"{prefix}{key}" for key in values}
        return {
            key: kept(value, f"{names[key]}.")
            for key, value in values.items()
            if names[key] not in LATER or value != LATER[names[key]]
        }

    return kept(config)


def said(part: Any, name: str, otherwise: Any = None) -> Any:
    """Returns a value that part of a configuration gives.

    If an old run does not give it, returns what its code did before the option existed (UNSAID), else `otherwise`.

    >>> said({"_target_": "twostream.models.backbone.squeezenet1_0"}, "relu"), said(None, "relu")
    (True, None)
    """
    if not isinstance(part, Mapping):
        return otherwise
    value = part.get(name)
    return UNSAID.get(_moved(str(part.get("_target_")), MOVED), {}).get(name, otherwise) if value is None else value


def with_present_names(config: Any) -> Any:
    """Returns plain values in which every `_target_` has the present name of its code, and groups are groups.

    >>> with_present_names({"align": "zero_pad"})["align"]["channels"]
    'equal'
    >>> with_present_names({"optimizer": {"_target_": "twostream.optimization.sgd", "nesterov": False}})
    {'optimizer': {'_target_': 'twostream.training.optimizers.sgd', 'nesterov': False}}
    """
    for name, options in GROUPED.items():
        if isinstance(config, dict) and isinstance(plain := config.get(name), str) and plain in options:
            config = {**config, name: options[plain]}
    return _renamed(config, lambda name: _moved(name, MOVED))


def with_first_names(config: Any) -> Any:
    """Returns plain values in which all has its first name, so that hashes of them stay the same.

    So do plain values that have become groups, and defaults that have changed without a change of results: DEFAULTS,
    and the decoder (`auto` gives the frames of `pyav`, the default before it, bit for bit).

    >>> with_first_names([{"_target_": "twostream.training.optimizers.sgd"}, {"_target_": "mylab.sgd"}])
    [{'_target_': 'twostream.optimization.sgd'}, {'_target_': 'mylab.sgd'}]
    >>> with_first_names({"_target_": "twostream.data.sources.moving_patterns.MovingPatterns", "cache": "auto"})
    {'_target_': 'twostream.data.synthetic.MovingPatterns', 'cache': None}
    >>> with_first_names({"decoder": "auto"})
    {'decoder': 'pyav'}
    >>> with_first_names(with_present_names({"align": "upconv"}))
    {'align': 'upconv'}
    """
    for name, options in GROUPED.items():
        if isinstance(config, dict) and (plain := [one for one in options if config.get(name) == options[one]]):
            config = {**config, name: plain[0]}
    back = {new: old for old, new in MOVED.items()}
    return _renamed(_with_first_defaults(config), lambda name: _moved(name, back))


def _with_first_defaults(config: Any) -> Any:
    if not isinstance(config, dict):
        return [_with_first_defaults(value) for value in config] if isinstance(config, list) else config
    defaults = {} if "strategy" in config else DEFAULTS.get(config.get("_target_"), {})
    return {
        key: defaults[key][1] if key in defaults and value == defaults[key][0] else _with_first_defaults(value)
        for key, value in config.items()
    }


def _renamed(config: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(config, dict):
        return {
            key: rename(value) if key == "_target_" and isinstance(value, str) else _renamed(value, rename)
            for key, value in config.items()
        }
    return [_renamed(value, rename) for value in config] if isinstance(config, list) else config


def _moved(name: str, table: dict[str, str]) -> str:
    for start, other in table.items():
        if name.startswith(start):
            return other + name[len(start) :]
    return name
