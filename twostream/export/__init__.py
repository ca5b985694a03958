"""Exports networks for use elsewhere: one file, its preprocessing, its card; to and from the Hugging Face Hub."""

from twostream.export.graph import FORMATS
from twostream.export.hub import check_push, download_run, push_folder
from twostream.export.run import export_run

__all__ = ["FORMATS", "check_push", "download_run", "export_run", "push_folder"]
