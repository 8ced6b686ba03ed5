"""Load a version directory into a session that can answer, in the same way as the server's C++ loader.

The graph is imported unchanged. Its own restore op restores the variables, but only if their index file exists: a
version without `variables/` loads, and then each request to it fails (tensorflow/cc/saved_model/loader.cc).
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2
from tensorflow.python.client import pywrap_tf_session

from server.errors import ServingError, from_tensorflow
from server.mixed_precision import request_rewrite, rounding_ops
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
        self._tensors: dict[str, Any] = {}
        self._prepared: set[tuple[frozenset[str], tuple[str, ...]]] = set()
        self._lock = threading.Lock()

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], deadline: float | None = None
    ) -> list[np.ndarray]:
        """Return the values of the fetched tensors, in their order.

        Args:
            feeds: arrays by tensor name.
            fetches: tensor names.
            deadline: when to stop computing, by time.monotonic(); None means never.

        Raises:
            ServingError: if TensorFlow fails, with its message and code.

        """
        if not self._compiled.isdisjoint(fetches):
            raise ServingError(grpc.StatusCode.INTERNAL, "XLA compilation disabled")
        self.prepare(feeds, fetches)
        return self._call(feeds, fetches, deadline)

    def prepare(self, feeds: Iterable[str], fetches: Sequence[str]) -> None:
        """Optimize the graph for these tensor names, as the first run of them would."""
        key = (frozenset(feeds), tuple(fetches))
        if key in self._prepared:
            return
        with self._lock:
            if key[0] and key not in self._prepared:
                # Values of a wrong type: TensorFlow refuses them after it has optimized the graph.
                with suppress(ServingError):
                    wrong = {name: np.zeros((), "f" if self._find(name).dtype == tf.bool else "?") for name in key[0]}
                    self._call(wrong, fetches, None)
            self._prepared.add(key)

    def close(self) -> None:
        """Free the session and everything that the version holds; runs are interrupted."""
        self._session.close()

    def _call(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], deadline: float | None
    ) -> list[np.ndarray]:
        # Not Session.run, which takes longer than the graph of a small model and adds the Python stack to messages.
        values = {self._find(name)._as_tf_output(): value for name, value in feeds.items()}
        outputs = [self._find(name)._as_tf_output() for name in fetches]
        options = None
        if deadline is not None:
            milliseconds = max(round((deadline - time.monotonic()) * 1e3), 1)
            options = pywrap_tf_session.TF_NewBufferFromString(
                config_pb2.RunOptions(timeout_in_ms=milliseconds).SerializeToString()
            )
        try:
            results = self._session._call_tf_sessionrun(options, values, outputs, [], None)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from None
        finally:
            if options is not None:
                pywrap_tf_session.TF_DeleteBuffer(options)
        # A string of rank 0 comes as bytes, not as an array.
        return [np.array(result, np.object_) if isinstance(result, bytes) else result for result in results]

    def _find(self, name: str) -> Any:
        if name not in self._tensors:
            try:
                self._tensors[name] = self._session.graph.get_tensor_by_name(name)
            except (KeyError, ValueError) as error:
                raise ServingError(grpc.StatusCode.NOT_FOUND, str(error.args[0])) from None
        return self._tensors[name]


def load(path: Path, *, xla_enabled: bool, use_bfloat16: bool = False) -> Session:
    """Load the SavedModel in a version directory, with its `serve` tag.

    Args:
        path: the directory.
        xla_enabled: whether functions with jit_compile=True may run.
        use_bfloat16: whether to compute in bfloat16, as --mixed_precision=bfloat16 does.

    Raises:
        ServingError: if that fails, with the message and code that GetModelStatus shows.

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
