"""Read a server's log: why it failed, and which device it computes on."""

import re

# How TensorFlow marks errors and fatal errors, and the words that others use for them. The libraries of a GPU complain
# at every start, but only the last lines are shown.
_COMPLAINT = re.compile(
    r"^\S+ \S+: [EF] |^[EF]\d{4} |^\S*: [EF] |\b(error|failed|failure|fatal|aborted|cannot|could not|denied|killed"
    r"|exception|no such|no versions|not found|unknown argument|check failed|segmentation)\b",
    re.IGNORECASE,
)
_DATE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: ")
_GPU = re.compile(r"device:GPU:\d+ with .*?name: (?P<name>[^,]+), .*compute capability: (?P<capability>[\d.]+)")
# After these, a server retries or waits for files forever, so there is no point in waiting for it.
_LOST = re.compile(
    r"Loading servable:? \{name: .*? version: -?\d+\} failed"
    r"|encountered a filesystem access error|No versions of servable|Could not find base path"
)
_LINES, _LONGEST = 4, 600

CPU = "CPU"


def last_words(log: str) -> str:
    """Return a log's last complaints without their dates, or else its last lines; "" for an empty log."""
    lines = list(dict.fromkeys(_DATE.sub("", line.strip()) for line in log.splitlines() if line.strip()))
    complaints = [line for line in lines if _COMPLAINT.search(line)] or lines
    return "\n".join(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..." for line in complaints[-_LINES:])


def is_lost(log: str) -> bool:
    """Return whether the version can no longer become available, even if the server keeps running."""
    return _LOST.search(log) is not None


def device(log: str) -> str:
    """Return the GPU that a server's log names, else "CPU".

    Example:
        >>> device("device:GPU:0 with 9 MB memory: -> device: 0, name: A100, pci bus id: 0:0, compute capability: 8.0")
        'GPU A100, compute capability 8.0'
    """
    gpu = _GPU.search(log)
    return CPU if gpu is None else f"GPU {gpu['name']}, compute capability {gpu['capability']}"
