"""Look at imagery and labels before anything is trained: what is there, what is wrong with it, what to do about it.

Opening a source reports what it had to leave out or to assume. The doctor's list here adds what shows only when all
images are looked at together.
"""

from __future__ import annotations

from sat2map.inspection.checks import CHECKS
from sat2map.inspection.inspecting import ClassRow, Inspection, inspect

__all__ = ["CHECKS", "ClassRow", "Inspection", "inspect"]
