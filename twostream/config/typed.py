"""Checks what the user typed where Hydra's own messages would mislead: names, several values, dashes."""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from twostream.files.extras import install
from twostream.options import NO_VALUES, conf_folder
from twostream.options.command import train_command
from twostream.options.help import read_groups
from twostream.options.rule import did_you_mean

PLUGINS = ("joblib", "submitit", "ray", "optuna")  # extras with a launcher or sweeper whose name begins so
ELSEWHERE = {  # names that other programs give to our options
    "lr": "optimizer.learning_rate",
    "gpus": "trainer.devices",
    "max_epochs": "epochs",
    "num_epochs": "epochs",
    "bs": "batch_size",
    "workers": "num_workers",
    "model": "backbone",
    "arch": "backbone",
    "dataset": "data",
    "data_path": "data.root",
}


def check_words(words: Sequence[str]) -> None:
    """Raises ValueError for words of `train.py` that are not NAME=VALUE, and for several values without -m."""
    others, sweeps, rest = [], False, iter(words)
    for word in rest:
        if not word.startswith("-"):
            others.append(word)
            continue
        action = hydra_option(word)
        if action is None:
            raise ValueError(f"{word}: {meant(word.lstrip('-'), next(rest, ''))}{without_dashes()}")
        sweeps = sweeps or action.dest == "multirun"
        if action.nargs != 0 and "=" not in word:
            next(rest, None)
    for word, following in itertools.pairwise([*others, ""]):
        if following.startswith("="):
            value = following[1:] or others[others.index(following) + 1 :][:1]
            raise ValueError(f"{word} {following}: leave out the spaces beside =: {word}={''.join(value)}")
        if "=" not in word and not word.startswith("~"):
            raise ValueError(f"{word}: {meant(word, following)}{without_dashes()}")
    if not sweeps:
        check_single(others, "add -m for a sweep of them")


def without_dashes() -> str:
    """Says how options are typed."""
    return f"options are typed as NAME=VALUE, without dashes; {train_command()} --help shows them"


def hydra_option(word: str) -> argparse.Action | None:
    """Returns the option of Hydra's command line that a word is, or is the beginning of; None if there is none."""
    typed = word.partition("=")[0]
    for action in get_args_parser()._actions:
        for option in action.option_strings:
            if typed == option or (len(typed) > 3 and option.startswith(typed)):
                return action
    return None


def meant(word: str, following: str = "") -> str:
    """Asks whether the user meant another NAME; VALUE may be in the next word. Returns "" if no name is like it."""
    name, equals, value = word.partition("=")
    if not equals:
        value = "…" if not following or "=" in following or following.startswith("-") else following
    names = like(name.replace("-", "_"))
    return f"did you mean {names[0]}={value}? " if names else ""


def check_single(words: Sequence[str], otherwise: str) -> None:
    """Raises ValueError for an option with several values, one for each run; it says what to do `otherwise`."""
    for word in words:
        if not {",", "("} & {*word}:
            continue
        try:
            several = OverridesParser.create().parse_override(word).is_sweep_override()
        except HydraException:  # Hydra reports it
            continue
        name, _, values = word.partition("=")
        is_list = name not in read_groups(conf_folder()) and "(" not in values
        if several:
            a_list = f", or brackets for a list: {name}=[{values}]" if is_list else ""
            raise ValueError(f"{word}: several values; {otherwise}{a_list}")


@contextmanager
def naming_options(kind: type[Exception]) -> Iterator[None]:
    """Turns Hydra's errors that no value or option has a name into one of a `kind` that says which was meant."""
    try:
        yield
    except HydraException as error:
        if message := unknown_name(error) or unknown_option(error):
            raise kind(message) from None
        raise


def unknown_name(error: BaseException) -> str | None:
    """Returns the message for an error of Hydra that the configuration has no such name; None for any other error.

    >>> unknown_name(ValueError("Could not override 'layr'. To append to your config use +layr=conv5"))
    'layr=conv5: no such option; did you mean layer?'
    """
    found = re.match(r"Could not override '([^']+)'\.\s+To append to your config use \+(\S+)", str(error))
    if not found:
        return None
    name, word = found.groups()
    if holders := known_names().get(name):
        return f"{word}: not of the options chosen here, but of {', '.join(holders)}"
    close = like(name)
    hint = f"did you mean {' or '.join(close)}?" if close else f"{train_command()} --help shows them"
    added = "" if close or "." not in name else f"; +{word} gives it to code of your own"
    return f"{word}: no such option; {hint}{added}"


def unknown_option(error: BaseException) -> str | None:
    """Returns the message for an error of Hydra that a group of ours has no such option; None for any other error.

    >>> unknown_option(ValueError("Could not find 'data/ucf11'\\nAvailable options in 'data':\\n\\tfolder\\n\\tucf101"))
    'data=ucf11: no such option; did you mean ucf101? choose from folder, ucf101'
    """
    if absent := re.search(r"Could not (?:find|load) '(hydra/(?:launcher|sweeper))/(([a-z]+)\w*)'", str(error)):
        group, name, start = absent.groups()
        how = f"; {install(start)}" if start in PLUGINS else ""
        return f"{group}={name}: no such plug-in of Hydra is installed{how}"
    listing = r"(?:\s+Available options in .+:((?:\n\t.+)+))?"
    found = re.search(r"Could not (?:find|load) '(?!hydra)(.+)/([^/']+)'" + listing, str(error))
    if not found:
        return None
    group, name, listed = found.groups()
    names = listed.split() if listed else sorted(file.stem for file in (conf_folder() / group).glob("*.yaml"))
    return f"{group}={name}: no such option; {did_you_mean(name, names)}choose from {', '.join(names)}"


def like(name: str) -> list[str]:
    """Returns names of options that end with `name` or are close to it; only `name` itself, if it is one."""
    names = [*known_names()]
    if name in names:
        return [name]
    if elsewhere := ELSEWHERE.get(name.rpartition(".")[2]):
        return [elsewhere]
    ending = [one for one in names if one.endswith(f".{name}")]
    return ending[:3] or difflib.get_close_matches(name, names, n=1, cutoff=0.75)


@cache
def known_names() -> Mapping[str, list[str]]:
    """Returns {name: the options GROUP=OPTION that have it} for all names in conf/; [] for names that every run has."""
    names: dict[str, list[str]] = {group: [] for group in read_groups(conf_folder())}
    for file in sorted(conf_folder().rglob("*.yaml")):
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        group = "" if file.parent == conf_folder() else file.parent.name
        if group and not file.read_text(encoding="utf-8").startswith("# @package _global_"):
            content = {group: content}
        for name in keys_of(content):
            holders = names.setdefault(name, [])
            if group and name.partition(".")[0] == group and name != group:
                holders.append(f"{group}={file.stem}")
    return names


def keys_of(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the dotted names of everything in a configuration.

    >>> list(keys_of({"a": {"b": 1, "_target_": "x"}, "defaults": []}))
    ['a', 'a.b']
    """
    for key, value in content.items():
        if key in NO_VALUES:
            continue
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{key}.")
