"""The check: is the served model the exported one?"""

from client.check.expectations import expectation_of
from client.check.results import CheckResult
from client.check.three_questions import check

__all__ = ["CheckResult", "check", "expectation_of"]
