"""Pages that tell how good a map is: `report.html` and `comparison.html`, readable in a mail, on a phone and on paper.

They know scores, measures, pictures and words; they read no imagery and run no model. A page holds all it shows: no
file beside it, no address on the net. Everything a user wrote is escaped.
"""

from sat2map.reports.content import Example, Figure, Overview, Report, Rival, SceneRow
from sat2map.reports.pages import write_comparison, write_report
from sat2map.reports.words import figure, percent, picture_verdict, verdict

__all__ = [
    "Example",
    "Figure",
    "Overview",
    "Report",
    "Rival",
    "SceneRow",
    "figure",
    "percent",
    "picture_verdict",
    "verdict",
    "write_comparison",
    "write_report",
]
