"""Load a version directory into a session that can answer, in the same way as the server's C++ loader.

The graph is imported unchanged. Its own restore op restores the variables, but only if their index file exists: a
version without `variables/` loads, and then each request to it fails (tensorflow/cc/saved_model/loader.cc).
"""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2

from server.errors import ServingError, from_tensorflow, invalid_argument
from server.mixed_precision import request_rewrite, rounding_ops
from server.tensors import type_name
from server.xla import compiled_fetches

_INIT_OP = "__saved_model_init_op"


class Session:
    """A loaded version: its SignatureDefs, and runs of its graph by tensor name.

    Attributes:
        signatures: the SignatureDef of each signature key.

    """

    def __init__(self, meta_graph: Any, session: Any, compiled: frozenset[str]) -> None:
        self.signatures: Mapping[str, Any] = dict(meta_graph.signature_def)
        self._session = session
        self._compiled = compiled
        self._calls: dict[tuple[tuple[str, ...], tuple[str, ...]], _Call] = {}
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> list[np.ndarray]:
        """Return the values of the fetched tensors, in their order; feeds and fetches are tensor names."""
        if not self._compiled.isdisjoint(fetches):
            raise ServingError(grpc.StatusCode.INTERNAL, "XLA compilation disabled")
        key = (tuple(sorted(feeds)), tuple(fetches))
        try:
            call = self._calls.get(key) or self._prepared(*key)
            values = [feeds[name] for name in call.feeds]
            for index, (value, expected) in enumerate(zip(values, call.types, strict=True)):
                if value.dtype != expected:
                    raise invalid_argument(
                        f"Expects arg[{index}] to be {type_name(expected)} but {type_name(value.dtype)} is provided"
                    )
            outputs = call.function(*values)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None
        # A string of rank 0 comes as bytes, not as an array.
        return [np.array(output, np.object_) if isinstance(output, bytes) else output for output in outputs]

    def prepare(self, feeds: Iterable[str], fetches: Sequence[str]) -> None:
        """Optimize the graph for these tensor names, as the first run of them would."""
        try:
            self._prepared(tuple(sorted(feeds)), tuple(fetches))
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None

    def close(self) -> None:
        """Free the session and everything that the version holds."""
        self._calls.clear()
        self._session.close()

    def _prepared(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> "_Call":
        key = (feeds, fetches)
        with self._lock:
            if key not in self._calls:
                try:
                    tensors = [self._session.graph.get_tensor_by_name(name) for name in feeds]
                except (KeyError, ValueError) as error:
                    raise ServingError(grpc.StatusCode.NOT_FOUND, str(error.args[0])) from None
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                # Not Session.run, which takes longer than the graph of a small model and adds the Python stack to
                # messages. The public Session.make_callable uses it for callables with feeds.
                function = self._session._make_callable_from_options(options)
                self._calls[key] = _Call(feeds, tuple(tensor.dtype.as_numpy_dtype for tensor in tensors), function)
            return self._calls[key]


@dataclass(frozen=True)
class _Call:
    feeds: tuple[str, ...]
    types: tuple[Any, ...]
    function: Any


def load(path: Path, *, xla_enabled: bool, use_bfloat16: bool = False) -> Session:
    """Load the SavedModel in a version directory, with its `serve` tag.

    Args:
        path: the directory.
        xla_enabled: whether functions with jit_compile=True may run.
        use_bfloat16: compute in bfloat16, as --mixed_precision=bfloat16 does.

    Raises:
        ServingError: as the server's GetModelStatus would show it.

    """
    meta_graph = _read_meta_graph(path)
    graph = tf.Graph()
    config = config_pb2.ConfigProto(allow_soft_placement=True)
    try:
        with graph.as_default():
            tf.import_graph_def(meta_graph.graph_def, name="")
        rounding = rounding_ops(graph) if use_bfloat16 else []
        if use_bfloat16:
            request_rewrite(config)
        session = tf.compat.v1.Session(graph=graph, config=config)
    except ValueError as error:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
    except tf.errors.OpError as error:
        raise from_tensorflow(error) from None
    try:
        _initialize(session, meta_graph, path, rounding)
    except tf.errors.OpError as error:
        session.close()
        raise from_tensorflow(error) from None
    return Session(meta_graph, session, frozenset() if xla_enabled else compiled_fetches(meta_graph))


def _read_meta_graph(path: Path) -> Any:
    file, parse, kind = path / "saved_model.pb", saved_model_pb2.SavedModel.FromString, "binary"
    if not file.is_file():
        file, parse, kind = path / "saved_model.pbtxt", _from_text, "text"
    if not file.is_file():
        raise ServingError(
            grpc.StatusCode.NOT_FOUND,
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`)\nSpecified file path: {path}",
        )
    try:
        saved_model = parse(file.read_bytes())
    except OSError as error:
        raise ServingError(grpc.StatusCode.UNKNOWN, f"{file}; {error.strerror}") from None
    except (DecodeError, text_format.ParseError):
        raise ServingError(grpc.StatusCode.DATA_LOSS, f"Can't parse {file} as {kind} proto") from None
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == {"serve"}:
            return meta_graph
    raise ServingError(
        grpc.StatusCode.NOT_FOUND,
        "Could not find meta graph def matching supplied tags: { serve }. To inspect available tag-sets in the "
        "SavedModel, please use the SavedModel CLI: `saved_model_cli`",
    )


def _from_text(text: bytes) -> Any:
    return text_format.Parse(text.decode(errors="replace"), saved_model_pb2.SavedModel())


def _initialize(session: Any, meta_graph: Any, path: Path, then: Sequence[Any]) -> None:
    """Restore the variables, run ops on them, and run the graph's own initialization."""
    assets = {asset.tensor_info.name: path / "assets" / asset.filename for asset in _asset_file_defs(meta_graph)}
    saver = meta_graph.saver_def
    if (path / "variables" / "variables.index").is_file():
        variables = {saver.filename_tensor_name: path / "variables" / "variables"}
        _run_once(session, variables | assets, saver.restore_op_name)
        for operation in then:
            _run_once(session, {}, operation.name)
    init_op = _init_op_name(meta_graph)
    if init_op:
        _run_once(session, assets, init_op)


def _run_once(session: Any, paths: Mapping[str, Path], target: str) -> None:
    options = config_pb2.CallableOptions(feed=paths, target=[target])
    session._make_callable_from_options(options)(*(np.array(os.fsencode(path), np.object_) for path in paths.values()))


def _init_op_name(meta_graph: Any) -> str:
    if _INIT_OP in meta_graph.signature_def:
        name: str = meta_graph.signature_def[_INIT_OP].outputs[_INIT_OP].name
        return name
    for collection in ("saved_model_main_op", "legacy_init_op"):
        if collection in meta_graph.collection_def:
            return str(meta_graph.collection_def[collection].node_list.value[0])
    return ""


def _asset_file_defs(meta_graph: Any) -> Iterator[Any]:
    if meta_graph.asset_file_def:
        yield from meta_graph.asset_file_def
        return
    if "saved_model_assets" not in meta_graph.collection_def:
        return
    for value in meta_graph.collection_def["saved_model_assets"].any_list.value:
        asset = meta_graph_pb2.AssetFileDef()
        value.Unpack(asset)
        yield asset
