"""What is wrong with a log, a split or a profile: faults are counted by SQL where the data lies,
and said in plain words.

docs/audit.md names every finding, its rule and its thresholds.
"""

from clickprint.data.audit.finding import Finding, Severity

__all__ = ["Finding", "Severity"]
