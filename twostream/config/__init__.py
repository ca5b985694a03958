"""Configuration -> objects: with train.py and cli.py the only place that knows Hydra."""

from twostream.config.compose import compose_config, conf_folder, streams_of
from twostream.config.data import FOOTAGE, build_data, build_flow, build_source, build_views
from twostream.config.errors import EXPECTED, UserError, checked, notes_errors, one_line, run_command
from twostream.config.network import build_network, describe_config
from twostream.config.run import Run, build_run, build_system, quieten

__all__ = [
    "EXPECTED",
    "FOOTAGE",
    "Run",
    "UserError",
    "build_data",
    "build_flow",
    "build_network",
    "build_run",
    "build_source",
    "build_system",
    "build_views",
    "checked",
    "compose_config",
    "conf_folder",
    "describe_config",
    "notes_errors",
    "one_line",
    "quieten",
    "run_command",
    "streams_of",
]
