"""Finds the run that a command goes on with: that of `resume=RUN_DIR`, or the interrupted run in its folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from twostream.config.compose import compose_config, run_in
from twostream.config.saved import check_targets, leaves, own_interpolations
from twostream.config.trust import TYPED_IN
from twostream.files.errors import UserError
from twostream.files.json_yaml import read_json
from twostream.files.signals import INTERACTIVE, slurm_job
from twostream.launch.sweep import file_name, hash_of
from twostream.runs.folders import working_folder
from twostream.runs.sweep import LEDGER

OVERRIDES = "overrides.json"


def continued(arguments: list[str]) -> list[str]:
    """Returns the arguments of the run in `resume=RUN_DIR`, then those that were typed; without `resume=`, the latter.

    In the folder of a run, a command without arguments goes on with that run. Changes to the folder in which the run
    was started, so that relative paths of its data are right. `--trust PACKAGE` and `--config-dir DIR` say which code
    of the user's own the run folder may name. Raises UserError for a folder without a run.
    """
    arguments, trust = without_option(arguments, "--trust")
    arguments, folders = without_option(arguments, "--config-dir", "-cd")
    if folders and not Path(folders[-1]).is_dir():
        raise UserError(f"--config-dir {folders[-1]}: no such folder")
    config_dirs = [str(Path(folder).absolute()) for folder in folders[-1:]]
    options = [f"--config-dir={path}" for path in config_dirs]  # in front: Hydra allows no overrides before them
    typed = [word for word in arguments if not word.startswith("resume=")]
    named = [word.partition("=")[2] for word in arguments if word.startswith("resume=")]
    if not (arguments or folders) and Path(OVERRIDES).exists():
        named = ["."]
    if not named or named[-1] == "null":
        if trust:
            raise UserError("--trust: is for resume=RUN_DIR; what you type yourself needs none")
        return [*options, *typed]
    if {"-m", "--multirun"} & set(typed):
        raise UserError("resume= is for one run; a sweep goes on when its own command is repeated")
    folder = Path(named[-1].strip("'\"")).resolve()
    overrides = read_overrides(folder)
    started_in = working_folder(folder)
    if started_in is not None and started_in.is_dir():
        os.environ[TYPED_IN] = os.getcwd()  # search own code there, not where somebody's folder says
        os.chdir(started_in)
    changed = {key_of(word) for word in typed}
    kept = [word for word in overrides if key_of(word) not in changed]
    check_overrides(kept, folder, trust=trust, config_dirs=config_dirs)
    return [*options, *kept, *typed, run_in(folder)]


def without_option(arguments: list[str], *names: str) -> tuple[list[str], list[str]]:
    """Returns the words that do not belong to an option, and the option's values, which follow it or a "=".

    >>> without_option(["seed=1", "--trust", "a", "--trust=b"], "--trust")
    (['seed=1'], ['a', 'b'])
    """
    others: list[str] = []
    values: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in names:
            values.append(value if equals else next(words, ""))
        else:
            others.append(word)
    return others, values


def read_overrides(folder: Path) -> list[str]:
    """Returns what was typed to start the run in a folder. Raises UserError if this is missing or damaged."""
    path = folder / OVERRIDES
    if not os.path.exists(path):  # of any name, also of one that is too long
        raise UserError(f"resume={folder}: is no run folder{instead(folder)}")
    try:
        return read_json(path, [str], what="not a list of overrides")
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from None


def instead(folder: Path) -> str:
    """Says why a folder is that of no run, and what to type in place of it."""
    if os.path.isfile(folder):
        return f": name the folder that it is in: resume={folder.parent}"
    if os.path.isfile(folder / LEDGER):
        return f" but that of a sweep, which goes on when its command is repeated: {folder / LEDGER} has it"
    return f": it has no {OVERRIDES}, which training writes"


def check_overrides(
    overrides: list[str], folder: Path, *, trust: Sequence[str] = (), config_dirs: Sequence[str] = ()
) -> None:
    """Raises UserError if a run folder, which may be somebody else's, says more than what to train.

    This is: code that is neither named by an option nor in a package of `trust`; values that are looked up when read;
    options of Hydra or of the command. `config_dirs`: the folder of further options that the user has named, if any.
    """
    path = folder / OVERRIDES
    for word in overrides:
        group, _, package = key_of(word).partition("@")
        elsewhere = package not in ("", "flow_backbone")  # Hydra's syntax to put an option elsewhere
        if word.startswith("-") or group.startswith("hydra") or elsewhere or "$" in word:
            raise UserError(f"{path}: {word!r} is not taken from a folder; if it is wanted, type it")
    try:
        cfg = compose_config(overrides, config_dir=next(iter(config_dirs), None))
        looked_up = [value for value in leaves(OmegaConf.to_container(cfg)) if "${" in str(value)]
        if looked_up := [value for value in looked_up if value not in own_interpolations(*config_dirs)]:
            raise UserError(f"{path}: {looked_up[0]!r} is not taken from a folder; if it is wanted, type it")
        check_targets(cfg, path, trust=trust, folders=[Path(each) for each in config_dirs])
    except (ValueError, ImportError) as error:
        raise UserError(str(error)) from None


def key_of(override: str) -> str:
    """Returns the option that an override sets.

    >>> key_of("+data.root=x"), key_of("~logger"), key_of("backbone@flow_backbone=vgg_m")
    ('data.root', 'logger', 'backbone@flow_backbone')
    """
    return override.partition("=")[0].lstrip("+~")


def run_name(usual: str) -> str:
    """Returns the name of a run's folder: `usual`, the time, or in a SLURM job its number, which a requeued job keeps.

    The processes that torchrun starts share the name of its run (`--rdzv-id`) or, without one, its process id.
    """
    if (run := os.environ.get("TORCHELASTIC_RUN_ID", "none")) != "none":
        return f"torchrun-{file_name(run)}-{hash_of(sorted(sys.argv[1:]))}"
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return f"{usual.partition('/')[0]}/torchrun-{os.getppid()}"
    job = slurm_job()
    if job is None or os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        return usual
    return f"slurm-{job}-{hash_of(sorted(sys.argv[1:]))}"


OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
