"""Does a scene belong to a model? What training pixels were like, and how a scene, or a window of it, differs."""

from sat2map.domain.comparing import Difference, compare
from sat2map.domain.familiar import COVERED, Familiar, fit_familiar, load_familiar
from sat2map.domain.known import Domain, Glimpse, crs_family, fit_domain, glimpse
from sat2map.domain.looks import quantiles, sample

__all__ = [
    "COVERED",
    "Difference",
    "Domain",
    "Familiar",
    "Glimpse",
    "compare",
    "crs_family",
    "fit_domain",
    "fit_familiar",
    "glimpse",
    "load_familiar",
    "quantiles",
    "sample",
]
