"""Find the outputs of a graph that need XLA, which the real server refuses to run unless a flag allows it.

The real server refuses the first run of a function with jit_compile=True. TensorFlow in Python has no such switch, so
the functions are found in the graph instead.
"""

from typing import Any

_MUST_COMPILE = "_XlaMustCompile"


def compiled_fetches(meta_graph: Any) -> frozenset[str]:
    """Find the tensor names, among the outputs of all signatures, that cannot be computed without XLA.

    A tensor needs XLA if a node that it depends on calls, directly or through other functions, a function that was
    traced with jit_compile=True.
    """
    library = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    compiled = {name for name, function in library.items() if _must_compile(function)}
    callers = {name: _called_functions(function.node_def) for name, function in library.items()}
    while grown := {name for name, called in callers.items() if name not in compiled and called & compiled}:
        compiled |= grown
    if not compiled:
        return frozenset()
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    fetches = {info.name for signature in meta_graph.signature_def.values() for info in signature.outputs.values()}
    return frozenset(fetch for fetch in fetches if _depends_on(nodes, fetch, compiled))


def _must_compile(item: Any) -> bool:
    return _MUST_COMPILE in item.attr and bool(item.attr[_MUST_COMPILE].b)


def _called_functions(nodes: Any) -> set[str]:
    called = set()
    for node in nodes:
        for value in node.attr.values():
            called |= {value.func.name} if value.HasField("func") else {func.name for func in value.list.func}
    return called


def _depends_on(nodes: dict[str, Any], fetch: str, compiled: set[str]) -> bool:
    waiting = [fetch]
    seen = set()
    while waiting:
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        node = nodes[name]
        if _must_compile(node) or _called_functions([node]) & compiled:
            return True
        waiting.extend(node.input)
    return False
