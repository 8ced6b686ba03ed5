"""Find which ops of a written SavedModel can run on a GPU, without needing one.

The `tensorflow` wheel for Linux on x86-64 registers the GPU kernels whether or not the machine has a GPU; the
`tensorflow-cpu` wheel registers none, and then the answer is unknown.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import tensorflow as tf
from rich.table import Table
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import kernels

from exporter.cli.terminal import folding
from exporter.errors import ExportError
from exporter.graphs import attributes, called_functions, producer

Device: TypeAlias = Literal["GPU", "CPU"]

# A device without its own kernel for an op uses the one registered for every device.
_GPU_KERNELS = ("GPU", "DEFAULT")


@dataclass(frozen=True)
class OpUse:
    """One op, as one signature uses it.

    Attributes:
        op: the op's name, as in "Conv2D".
        dtypes: the types it is used with, which select its kernel.
        device: "GPU" where a GPU kernel exists for these types and the graph does not pin the op to the CPU.
        host_memory: the arguments and results that this GPU kernel keeps in host memory.
        in_backbone: whether it is part of the model itself rather than of the signatures around it.
        count: how often it occurs in the graph.
    """

    op: str
    dtypes: tuple[str, ...]
    device: Device
    host_memory: tuple[str, ...]
    in_backbone: bool
    count: int


@dataclass(frozen=True)
class GpuReadiness:
    """Where the ops of each signature would run on a server with a GPU; `dataclasses.asdict` makes it JSON.

    Attributes:
        known: False if this TensorFlow registers no GPU kernels; then every op counts as a CPU op.
        signatures: the ops in use, by signature.
    """

    known: bool
    signatures: Mapping[str, tuple[OpUse, ...]]

    @property
    def cpu_ops_in_backbone(self) -> tuple[str, ...]:
        """The ops that make the backbone leave the GPU and come back, with a copy each way; empty if not `known`."""
        if not self.known:
            return ()
        uses = (use for uses in self.signatures.values() for use in uses if use.in_backbone and use.device == "CPU")
        # A constant needs no copy from the GPU, and the ops that read it are counted themselves.
        return tuple(sorted({_named(use) for use in uses if use.op != "Const"}))


def gpu_readiness(saved_model: Path, backbone: str) -> GpuReadiness:
    """Look up, for every op that a signature runs, whether TensorFlow has a GPU kernel for its types.

    Args:
        saved_model: the directory of a SavedModel.
        backbone: the name of the Python function that the model was traced from.

    Raises:
        ExportError: when no signature calls a function of that name.

    Example:
        >>> gpu_readiness(Path("models/digits/1"), "backbone").cpu_ops_in_backbone
        ()
    """
    file = saved_model / "saved_model.pb"
    meta_graph = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0]
    kernel_finder = _KernelFinder()
    graph = _Graph(meta_graph.graph_def, re.compile(rf"__(inference|forward)_{re.escape(backbone)}_\d+"))
    signatures = {
        key: kernel_finder.uses(graph.run_by([info.name for info in definition.outputs.values()]))
        for key, definition in sorted(meta_graph.signature_def.items())
        # The op that initializes tables is declared as a signature, but no client can call it.
        if not key.startswith("__saved_model_")
    }
    if not any(use.in_backbone for uses in signatures.values() for use in uses):
        raise ExportError(f"No signature of {saved_model} calls a function traced from {backbone!r}.")
    return GpuReadiness(kernel_finder.knows_gpus, signatures)


def readiness_table(readiness: GpuReadiness) -> Table:
    """Return a table of the result for people, with one row for each signature."""
    table = Table(*folding("signature", "ops with a GPU kernel", "on the CPU", "on the CPU in the backbone"))
    table.title, table.title_justify = "On a GPU", "left"
    if not readiness.known:
        table.caption = (
            "Unknown: this TensorFlow registers no GPU kernels. Export with the tensorflow wheel to find out."
        )
    for key, uses in readiness.signatures.items():
        on_cpu = [use for use in uses if use.device == "CPU"]
        around = sum(use.count for use in on_cpu if not use.in_backbone)
        inside = ", ".join(sorted({_named(use) for use in on_cpu if use.in_backbone and use.op != "Const"})) or "none"
        counts = (str(sum(use.count for use in uses) - sum(use.count for use in on_cpu)), str(around), inside)
        table.add_row(key, *(counts if readiness.known else "???"))
    return table


@dataclass(frozen=True)
class _Place:
    """What the functions around a node determine about it."""

    in_backbone: bool = False
    pinned: bool = False


class _Graph:
    """A graph, its functions, and which of them are the backbone."""

    def __init__(self, graph_def: Any, backbone: re.Pattern[str]) -> None:
        self._nodes = {node.name: node for node in graph_def.node}
        # As lists, so that a node is the same object each time it is looked at.
        self._functions = {function.signature.name: list(function.node_def) for function in graph_def.library.function}
        self._backbone = backbone

    def run_by(self, tensors: Sequence[str]) -> Iterator[tuple[Any, _Place]]:
        """Yield each node that computing the tensors may run, in any function, with its place."""
        needed: dict[str, Any] = {}
        waiting = list(tensors)
        while waiting:
            name = producer(waiting.pop())
            if name not in needed:
                needed[name] = self._nodes[name]
                waiting.extend(needed[name].input)
        yield from self._with_functions(needed.values(), _Place(), set())

    def _with_functions(
        self, nodes: Iterable[Any], outside: _Place, seen: set[tuple[str, _Place]]
    ) -> Iterator[tuple[Any, _Place]]:
        for node in nodes:
            # Nodes of a function that name no device run on the device of its call.
            place = replace(outside, pinned="CPU" in node.device.upper() if node.device else outside.pinned)
            yield node, place
            for name in called_functions(node):
                inside = replace(place, in_backbone=place.in_backbone or bool(self._backbone.fullmatch(name)))
                if name in self._functions and (name, inside) not in seen:
                    seen.add((name, inside))
                    yield from self._with_functions(self._functions[name], inside, seen)


# An op with its types, its device, what it keeps in host memory, and whether it is part of the backbone.
_Use: TypeAlias = tuple[str, tuple[str, ...], Device, tuple[str, ...], bool]


class _KernelFinder:
    """Finds the kernel that a GPU would use for a node, preferring the GPU's own to those for every device."""

    def __init__(self) -> None:
        self._kernels = defaultdict(list)
        every = kernels.get_all_registered_kernels().kernel
        for device in _GPU_KERNELS:
            for kernel in every:
                if kernel.device_type == device:
                    self._kernels[kernel.op].append(kernel)
        self.knows_gpus = any(kernel.device_type == "GPU" for kernel in every)
        # All signatures run the nodes of one backbone, and protobuf messages are slow to read.
        self._found: dict[tuple[int, _Place], _Use] = {}

    def uses(self, nodes: Iterable[tuple[Any, _Place]]) -> tuple[OpUse, ...]:
        """Count the uses of ops in nodes of a `_Graph` that outlives this object."""
        counts: Counter[_Use] = Counter()
        for node, place in nodes:
            key = (id(node), place)
            if key not in self._found:
                self._found[key] = self._use(node, place)
            counts[self._found[key]] += 1
        return tuple(OpUse(*use, count) for use, count in sorted(counts.items()))

    def _use(self, node: Any, place: _Place) -> _Use:
        values = attributes(node)
        usable = () if place.pinned else self._kernels.get(node.op, ())
        kernel = next((kernel for kernel in usable if _fits(kernel, values)), None)
        device: Device = "CPU" if kernel is None else "GPU"
        host_memory = () if kernel is None else tuple(kernel.host_memory_arg)
        return node.op, _dtypes(values), device, host_memory, place.in_backbone


def _fits(kernel: Any, values: Mapping[str, Any]) -> bool:
    label = values["_kernel"].s.decode() if "_kernel" in values else ""
    return bool(kernel.label == label) and all(
        constraint.name in values and set(_values(values[constraint.name])) <= set(_values(constraint.allowed_values))
        for constraint in kernel.constraint
    )


def _values(attribute: Any) -> list[Any]:
    """Return the values of an attribute: one, or those of a list."""
    kind = attribute.WhichOneof("value")
    if kind is None:
        return []
    if kind != "list":
        return [getattr(attribute, kind)]
    return [value for _, values in attribute.list.ListFields() for value in values]


def _dtypes(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the types in a node's attributes, each once."""
    numbers = [
        number
        for value in values.values()
        for number in ([value.type] if value.WhichOneof("value") == "type" else value.list.type)
    ]
    return tuple(dict.fromkeys(tf.dtypes.as_dtype(number).name for number in numbers))


def _named(use: OpUse) -> str:
    return f"{use.op} ({', '.join(use.dtypes)})" if use.dtypes else use.op
