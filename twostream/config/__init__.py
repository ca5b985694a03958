"""Composes what the user typed into a configuration, checks it, and builds objects from it."""

from twostream.config.bounds import cautions
from twostream.config.compose import compose_config, conf_folder, streams_of
from twostream.config.data import build_data, build_flow, build_source, build_views, mirror_note, mirrors
from twostream.config.network import build_network, describe_config, starts
from twostream.config.run import Run, build_run, build_system, check_device, quieten
from twostream.config.settle import few_note, needs_videos, settle, settled_note

__all__ = [
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
    "compose_config",
    "conf_folder",
    "describe_config",
    "few_note",
    "mirror_note",
    "mirrors",
    "needs_videos",
    "quieten",
    "settle",
    "settled_note",
    "starts",
    "streams_of",
]
