"""Which run a command goes on with: the one of `resume=RUN_DIR`, or the interrupted one that its folder holds."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from twostream.config.sweep import difference, hash_of, identity
from twostream.errors import UserError
from twostream.recovery import newest_recovery, read_recovery
from twostream.signals import slurm_job

OVERRIDES = "overrides.json"
INTERACTIVE = ("bash", "interactive")  # names that SLURM gives to jobs in which commands are typed


def continued(arguments: list[str]) -> list[str]:
    """The arguments of the run in `resume=RUN_DIR`, then those that were typed now; without `resume=` as they are.

    In the folder of a run, a command without arguments goes on with that run. The working folder becomes the one in
    which the run was started, so that the paths of its data are right. Raises UserError for a folder without a run.
    """
    typed = [word for word in arguments if not word.startswith("resume=")]
    named = [word.partition("=")[2] for word in arguments if word.startswith("resume=")]
    if not arguments and Path(OVERRIDES).exists():
        named = ["."]
    if not named or named[-1] == "null":
        return typed
    if {"-m", "--multirun"} & set(typed):
        raise UserError("resume= is for one run; a sweep goes on when its own command is repeated")
    folder = Path(named[-1].strip("'\"")).resolve()
    overrides = read_overrides(folder)
    started_in = working_folder(folder)
    if started_in is not None and started_in.is_dir():
        os.chdir(started_in)
    changed = {key_of(word) for word in typed}
    kept = [word for word in overrides if key_of(word) not in changed]
    return [*kept, *typed, f"hydra.run.dir='{folder}'"]


def read_overrides(folder: Path) -> list[str]:
    """What was typed to start the run in a folder. Raises UserError where there is none, or a damaged one."""
    path = folder / OVERRIDES
    try:
        overrides = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"resume={folder}: is no run folder: it has no {OVERRIDES}, that train.py writes") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
        raise UserError(f"{path}: damaged: not a list of overrides")
    return overrides


def working_folder(folder: Path) -> Path | None:
    """Where the command of a run was given; None where that is not known."""
    try:
        config = OmegaConf.load(folder / ".hydra" / "hydra.yaml")
        return Path(str(OmegaConf.to_container(config)["hydra"]["runtime"]["cwd"]))  # type: ignore[index,call-overload]
    except (OSError, ValueError, YAMLError, OmegaConfBaseException, KeyError, TypeError):
        return None


def key_of(override: str) -> str:
    """
    >>> key_of("+data.root=x"), key_of("~logger"), key_of("backbone@flow_backbone=vgg_m")
    ('data.root', 'logger', 'backbone@flow_backbone')
    """
    return override.partition("=")[0].lstrip("+~")


def recovery_of(cfg: DictConfig, folder: Path) -> Path | None:
    """The checkpoint that a run in this folder goes on from; None where it begins.

    Raises UserError, with the difference, where another configuration wrote it, unless `allow_change` is set.
    """
    path = newest_recovery(folder)
    if path is None:
        return None
    state = read_recovery(path)
    print(f"{folder}: going on in epoch {state['epoch'] + 1} after {state['batch']} batches", flush=True)
    if state["cell"] != identity(cfg):
        changes = difference(cfg, folder)
        if not cfg.allow_change:
            raise UserError(
                f"{folder}: its run was interrupted under another configuration ({changes}); "
                "allow_change=true goes on with the present one"
            )
        print(f"WARNING: the configuration has changed since ({changes}); allow_change=true")
    return path


def run_name(usual: str) -> str:
    """The name of a run's folder: the time; in a SLURM job the job, which keeps its number when it is requeued."""
    job = slurm_job()
    if job is None or os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        return usual
    return f"slurm-{job}-{hash_of(sorted(sys.argv[1:]))}"


OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
