"""How good a model's maps are, on ground it has not learnt from: whole scenes, one tally, one report.

Classes are counted against classes; pictures are measured against pictures and, where a legend says what their colours
mean, decoded and counted as well.
"""

from __future__ import annotations

from sat2map.evaluation.evaluating import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
