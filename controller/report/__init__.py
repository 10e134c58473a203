"""The report of a run: read a run folder, analyse it, write one HTML file. Needs no running controller."""

from controller.report.build import build, build_report
from controller.report.summary import Summary, summary

__all__ = ["Summary", "build", "build_report", "summary"]
