"""One HTML file for people, made from the files of a run directory and from nothing else."""

from infimix.report.html import write_report

__all__ = ["write_report"]
