"""The parts of the benchmarks.

Each module has a TITLE, an ABOUT, `measure(run, folder)`, which adds rows to the run, and `reading(rows)`, which says
in a sentence what they show. `folder` is empty, and removed afterward.
"""
