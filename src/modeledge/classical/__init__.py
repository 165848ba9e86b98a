"""Classical heads on vectors, without torch: fitted by scikit-learn, kept as arrays. `HEADS` is the table."""

from modeledge.classical.choose import Bank, Candidate, Learning, Verdict, search, space_of
from modeledge.classical.combine import Combine, check_how, combined, layers_named
from modeledge.classical.head import Head
from modeledge.classical.pairs import compared
from modeledge.classical.project import check_pca, units
from modeledge.classical.saved import Fit, fit_files, read_fit, write_fit
from modeledge.classical.table import HEADS, WRITERS, Fitting, Kind, check_strength, fit_head, kind_named, written

__all__ = [
    "HEADS",
    "WRITERS",
    "Bank",
    "Candidate",
    "Combine",
    "Fit",
    "Fitting",
    "Head",
    "Kind",
    "Learning",
    "Verdict",
    "check_how",
    "check_pca",
    "check_strength",
    "combined",
    "compared",
    "fit_files",
    "fit_head",
    "kind_named",
    "layers_named",
    "read_fit",
    "search",
    "space_of",
    "units",
    "write_fit",
    "written",
]
