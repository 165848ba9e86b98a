"""Showing what was learned: run folders in, one self-contained HTML file out.

`run_report` and `compare_report` serve any run folder; a recipe with more to say builds a `Page` of typed blocks and
hands it to `write_report`. Nothing here imports torch.
"""

from modeledge.report.analysis import error_page
from modeledge.report.blocks import (
    Block,
    Code,
    Details,
    Figure,
    Headline,
    KeyValues,
    LedgerTable,
    Page,
    Paragraph,
    Samples,
    Section,
    Table,
    Verdict,
)
from modeledge.report.compare import compare_page, compare_report
from modeledge.report.page import render_page, write_report
from modeledge.report.plots import Result, budget_plot, comparison_plot, loss_curves, progress_panels
from modeledge.report.read import Run, read_run
from modeledge.report.summary import run_page, run_report
from modeledge.report.treemap import treemap

__all__ = [
    "Block",
    "Code",
    "Details",
    "Figure",
    "Headline",
    "KeyValues",
    "LedgerTable",
    "Page",
    "Paragraph",
    "Result",
    "Run",
    "Samples",
    "Section",
    "Table",
    "Verdict",
    "budget_plot",
    "compare_page",
    "compare_report",
    "comparison_plot",
    "error_page",
    "loss_curves",
    "progress_panels",
    "read_run",
    "render_page",
    "run_page",
    "run_report",
    "treemap",
    "write_report",
]
