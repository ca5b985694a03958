"""Configuration -> objects: with train.py and cli.py the only place that knows Hydra."""

from twostream.config.bounds import cautions
from twostream.config.command import notes_errors, run_command
from twostream.config.compose import compose_config, conf_folder, streams_of
from twostream.config.data import READING, build_data, build_flow, build_source, build_views, mirror_note, mirrors
from twostream.config.network import build_network, describe_config, starts
from twostream.config.processes import needs_own_process, run_own_process
from twostream.config.refit import choose_epochs
from twostream.config.resume import recovery_of
from twostream.config.run import Run, build_run, build_system, check_device, quieten
from twostream.config.settle import few_note, needs_videos, settle, told
from twostream.config.sweep import claimed, identity

__all__ = [
    "READING",
    "Run",
    "build_data",
    "build_flow",
    "build_network",
    "build_run",
    "build_source",
    "build_system",
    "build_views",
    "cautions",
    "check_device",
    "choose_epochs",
    "claimed",
    "compose_config",
    "conf_folder",
    "describe_config",
    "few_note",
    "identity",
    "mirror_note",
    "mirrors",
    "needs_own_process",
    "needs_videos",
    "notes_errors",
    "quieten",
    "recovery_of",
    "run_command",
    "run_own_process",
    "settle",
    "starts",
    "streams_of",
    "told",
]
