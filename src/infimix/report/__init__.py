"""HTML files for people, made from the files of run directories and from nothing else."""

from infimix.report.comparison import Comparison, compare
from infimix.report.comparison_page import cell_text, write_comparison
from infimix.report.html import write_report

__all__ = ["Comparison", "cell_text", "compare", "write_comparison", "write_report"]
