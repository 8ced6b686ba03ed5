"""The parts of the benchmarks: each module has `measure(run, folder)`, which adds rows to the run, and `reading(rows)`."""
