"""Turns the runs of a sweep into a table that can be trusted."""

from twostream.report.build import Report, build_report
from twostream.report.terminal import all_as_text, as_text
from twostream.report.write import write_reports

__all__ = ["Report", "all_as_text", "as_text", "build_report", "write_reports"]
