"""How much memory a version needs on a server's host, estimated from its files before any server loads it."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from exporter.graphs import attributes, called_functions, producer
from exporter.options import ExportOptions
from signatures.contract import names

_BACKBONE = re.compile(rf"__(?:inference|forward)_{names.BACKBONE}_\d+")
# A server keeps the graph as read, and an optimized copy with its kernels for each signature that is run. In the
# stand-in, three versions took 120 to 142 bytes for each byte of the file. The real server, which keeps no graph in
# Python, was not measured. See docs/deploying.md.
_BYTES_FOR_EACH_OF_GRAPH = 128
# The bytes assumed for a value of a type without a size, such as a string or a resource.
_HANDLE_BYTES = 16


@dataclass(frozen=True)
class MemoryEstimate:
    """The bytes that loading a version and running its largest batches adds to a server.

    Attributes:
        weights: the bytes of the variables, as they are stored.
        constants: the bytes of the constants in the graph.
        activations: the peak of the backbone's live tensors if its ops run one after another, times the number of
            batches that run at once. The working memory of an op is not included.
        graph: the bytes of the graph, with the copies that a server makes of it.
        batch: how many examples a batch has.
    """

    weights: int
    constants: int
    activations: int
    graph: int
    batch: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.weights + self.constants + self.activations + self.graph


def memory_of(version: Path, options: ExportOptions, longest: int) -> dict[str, int]:
    """Return the estimate for export.json: for as many of the largest batches as may run at once.

    Without batching, the size of a request has no limit, and the largest size that is warmed up counts.

    Args:
        version: the version's directory.
        options: how it was exported.
        longest: the samples' largest size in a dimension without a declared size.
    """
    batching = options.batching or options.server_batching
    runs, lengths = (batching.num_batch_threads, batching.pad_to) if batching else (1, ())
    estimate = estimate_memory(version, options.warmup_sizes[-1], runs, max(longest, 1, *lengths))
    return {**asdict(estimate), "total": estimate.total}


def estimate_memory(version: Path, batch: int, runs: int = 1, length: int = 1) -> MemoryEstimate:
    """Estimate what a version adds to a server's memory.

    Args:
        version: the version's directory.
        batch: the most examples that the backbone runs at once.
        runs: how many such batches run at the same time.
        length: the size assumed for a dimension without a declared size.

    Example:
        >>> estimate_memory(Path("models/digits/1"), batch=4).weights
        210321
    """
    content = (version / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def
    functions = {function.signature.name: function for function in graph.library.function}
    bodies = [graph.node, *(function.node_def for function in functions.values())]
    constants = sum(_constant_bytes(node) for nodes in bodies for node in nodes)
    peaks = [_peak(each, functions, batch, length) for name, each in functions.items() if _BACKBONE.fullmatch(name)]
    return MemoryEstimate(
        weights=sum(file.stat().st_size for file in version.glob("variables/variables.data-*")),
        constants=constants,
        activations=runs * max(peaks, default=0),
        graph=_BYTES_FOR_EACH_OF_GRAPH * (len(content) - constants),
        batch=batch,
    )


def _constant_bytes(node: Any) -> int:
    return len(node.attr["value"].tensor.tensor_content) if node.op == "Const" else 0


def _peak(function: Any, functions: Mapping[str, Any], batch: int, length: int) -> int:
    """Return the most bytes that are alive at once. A tensor lives until the last op that reads it has run.

    While a called function runs, its own peak counts on top of what is alive around the call.
    """
    nodes = list(function.node_def)
    last_use = {name: place for place, node in enumerate(nodes) for name in map(producer, node.input)}
    for returned in function.ret.values():
        last_use[producer(returned)] = len(nodes)
    ends: dict[int, int] = {}
    alive = highest = 0
    for place, node in enumerate(nodes):
        # Weights are read in place.
        made = 0 if node.op in ("Const", "ReadVariableOp") else sum(_output_bytes(node, batch, length))
        alive += made
        called = [functions[name] for name in called_functions(node) if name in functions]
        inside = max((_peak(each, functions, batch, length) for each in called), default=0)
        highest = max(highest, alive + inside)
        end = max(last_use.get(node.name, place), place)
        ends[end] = ends.get(end, 0) + made
        alive -= ends.pop(place, 0)
    return highest


def _output_bytes(node: Any, batch: int, length: int) -> Iterator[int]:
    """Yield the bytes of each output that has a shape; the first dimension without a size is the batch."""
    sizes = _value_sizes(node)
    for place, shape in enumerate(node.attr["_output_shapes"].list.shape):
        if shape.unknown_rank:
            continue
        dimensions = [dim.size for dim in shape.dim]
        known = [size if size >= 0 else length if axis else batch for axis, size in enumerate(dimensions)]
        yield math.prod(known) * (sizes[place] if place < len(sizes) else _HANDLE_BYTES)


def _value_sizes(node: Any) -> list[int]:
    """Return the bytes per value of each output."""
    definition = op_def_registry.get(node.op)
    if definition is None:
        return []
    values = attributes(node)
    found: list[int] = []
    for output in definition.output_arg:
        if output.type_list_attr:
            found += map(_size, values[output.type_list_attr].list.type)
        else:
            count = values[output.number_attr].i if output.number_attr else 1
            found += [_size(values[output.type_attr].type if output.type_attr else output.type)] * count
    return found


def _size(number: int) -> int:
    dtype = tf.dtypes.as_dtype(number)
    return dtype.size if dtype.is_floating or dtype.is_integer or dtype.is_bool or dtype.is_complex else _HANDLE_BYTES
