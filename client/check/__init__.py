"""Is what is served what was exported?"""

from client.check.results import CheckResult
from client.check.three_questions import check, reference_of

__all__ = ["CheckResult", "check", "reference_of"]
