"""The samples to send to a server: from files of every kind, golden records and recorded requests, or made up."""

from client.samples.golden import Sample
from client.samples.made_up import Bound, random_samples, read_bounds
from client.samples.read import iterate_samples, read_samples
from client.samples.stacking import inputs_of, truth_of

__all__ = [
    "Bound",
    "Sample",
    "inputs_of",
    "iterate_samples",
    "random_samples",
    "read_bounds",
    "read_samples",
    "truth_of",
]
