"""Turns the runs of a sweep into a table that can be trusted."""

from twostream.report.build import Report, build_report
from twostream.report.terminal import as_text
from twostream.report.write import write_report, write_reports

__all__ = ["Report", "as_text", "build_report", "write_report", "write_reports"]
