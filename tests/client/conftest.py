"""A small server that answers as TensorFlow Serving does, and a published version to hold it against; no TensorFlow."""

import hashlib
import io
import json
import struct
from concurrent import futures
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from PIL import Image

from client.rpc import messages
from client.rpc.codec import decode_tensor, encode_tensor
from client.rpc.dtypes import type_number
from signatures.contract import names

LABELS = tuple("abcdefgh")
SIDE = 4
METHOD = "tensorflow/serving/predict"
CLASSES = ((names.CLASSES, "string"), (names.SCORES, "float32"))


class ServedError(Exception):
    """What the fake server answers in place of a response."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def refuse(message: str) -> None:
    raise ServedError(grpc.StatusCode.INVALID_ARGUMENT, message)


class FakeModel:
    """A served export in numpy: a linear classifier of 4x4 gray pictures. Tests replace its methods with wrong ones."""

    def __init__(self, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.weights = random.normal(0, 3, (SIDE * SIDE, len(LABELS))).astype(np.float32)
        self.bias = random.normal(0, 0.3, len(LABELS)).astype(np.float32)
        self.version, self.k, self.labels = 1, 2, LABELS
        self.default_k = 2
        self.export_id, self.preprocessing, self.digest = f"{seed:032x}", "unit", ""
        self.batching = False
        # How many examples a request may hold, where the server's own batching bounds that.
        self.most = None
        self.state = "AVAILABLE"
        self.takes_files = False
        # Whether metadata hold the default k, which newer servers leave out.
        self.tells_default_k = True
        # The optional signatures that were exported; None stands for all.
        self.keys = None

    def dense(self, images):
        logits = (images.reshape(len(images), -1) - 0.5) @ self.weights + self.bias
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    def order(self, row):
        return np.lexsort((np.arange(len(row)), -row))

    def head(self, dense, k):
        """All but the k largest of each row zero."""
        rows = np.zeros_like(dense)
        for row, (scores, count) in enumerate(zip(dense, k, strict=True)):
            kept = self.order(scores)[: min(max(count, 0), len(scores))]
            rows[row, kept] = scores[kept]
        return rows

    def listed(self, dense, k):
        counts = np.clip(k, 0, dense.shape[1])
        shape = (len(dense), int(counts.max()))
        indices, scores = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
        labels = np.full(shape, b"", object)
        for row, count in enumerate(counts):
            kept = self.order(dense[row])[:count]
            indices[row, :count], scores[row, :count] = kept, dense[row, kept]
            labels[row, :count] = [self.labels[index].encode() for index in kept]
        return {names.INDICES: indices, names.SCORES: scores, names.LABELS: labels}

    def info(self, probe):
        values = {
            names.EXPORT_ID: self.export_id,
            names.MODEL: "letters",
            names.LABELS: json.dumps(list(self.labels)),
            names.PREPROCESSING: json.dumps(self.preprocessing),
            names.GOLDEN_DIGEST: self.digest,
        }
        outputs = {name: np.full(len(probe), value.encode(), object) for name, value in values.items()}
        return {**outputs, names.K: np.full(len(probe), self.k, np.int32)}

    def declared(self):
        """Signatures as export.json has them."""
        images = {names.IMAGES: {"dtype": "float32", "shape": [-1, SIDE, SIDE, 1]}}
        k = {names.K: {"dtype": "int32", "shape": None}}
        dense = {names.PROBABILITIES: {"dtype": "float32", "shape": [-1, len(self.labels)]}}
        listed = {
            names.INDICES: {"dtype": "int32", "shape": [-1, -1]},
            names.SCORES: {"dtype": "float32", "shape": [-1, -1]},
            names.LABELS: {"dtype": "string", "shape": [-1, -1]},
        }
        text = (names.EXPORT_ID, names.MODEL, names.LABELS, names.PREPROCESSING, names.GOLDEN_DIGEST)
        info = {name: {"dtype": "string", "shape": [-1]} for name in text} | {
            names.K: {"dtype": "int32", "shape": [-1]}
        }
        files = {}
        if self.takes_files:
            encoded = {names.ENCODED_IMAGES: {"dtype": "string", "shape": [-1]}}
            classes = {name: {"dtype": dtype, "shape": [-1, -1]} for name, dtype in CLASSES}
            files = {
                names.ENCODED_IMAGES: {"method": METHOD, "inputs": encoded | k, "outputs": dense},
                names.ENCODED_IMAGES_TOP_K: {"method": METHOD, "inputs": encoded | k, "outputs": listed},
                names.CLASSIFY: {
                    "method": "tensorflow/serving/classify",
                    "inputs": {names.EXAMPLES: {"dtype": "string", "shape": [-1]}},
                    "outputs": classes,
                },
            }
        every = files | {
            names.SERVING_DEFAULT: {"method": METHOD, "inputs": images | k, "outputs": dense},
            names.TOP_K: {"method": METHOD, "inputs": images | k, "outputs": listed},
            names.FIXED_K: {"method": METHOD, "inputs": images, "outputs": dense},
            names.EXPORT_INFO: {
                "method": METHOD,
                "inputs": {names.PROBE: {"dtype": "int32", "shape": [-1]}},
                "outputs": info,
            },
        }
        always = {names.SERVING_DEFAULT, names.EXPORT_INFO}
        return {key: stated for key, stated in every.items() if self.keys is None or key in always | set(self.keys)}

    def decode(self, files):
        pictures = [np.asarray(Image.open(io.BytesIO(file)).convert("L").resize((SIDE, SIDE))) for file in files]
        return (np.stack(pictures)[..., None] / 255).astype(np.float32)

    def classify(self, examples):
        """Classes and scores of tf.Example messages."""
        features = [example.features.feature for example in examples]
        files = [feature[names.IMAGE_FEATURE].bytes_list.value[0] for feature in features]
        k = [next(iter(feature[names.K].int64_list.value), self.k) for feature in features]
        listed = self.listed(self.dense(self.decode(files)), np.array(k))
        return listed[names.LABELS], listed[names.SCORES]

    def predict(self, signature, inputs):
        examples = max((len(array) for array in inputs.values() if array.ndim), default=1)
        if self.most is not None and examples > self.most:
            refuse(f"Task size {examples} is larger than maximum input batch size {self.most}")
        if signature == names.EXPORT_INFO:
            return self.info(inputs.get(names.PROBE, np.zeros(1, np.int32)))
        images = self.decode(inputs[names.ENCODED_IMAGES]) if "encoded" in signature else inputs[names.IMAGES]
        if images.shape[1:] != (SIDE, SIDE, 1):
            refuse(f"Shape of tensor images {list(images.shape)} is not compatible with expected shape [?,4,4,1].")
        dense = self.dense(images)
        if signature == names.FIXED_K:
            return {names.PROBABILITIES: self.head(dense, np.full(len(dense), self.k))}
        k = inputs.get(names.K)
        if self.batching and (k is None or not k.ndim):
            refuse("Batching Run() input tensors must have at least one dimension")
        if self.batching and len(k) != len(dense):
            refuse("Batching Run() input tensors must have equal 0th-dimension size")
        k = np.array(self.default_k) if k is None else k
        if k.shape not in ((), (1,), (len(dense),)):
            refuse(f"k has shape {list(k.shape)}")
        counts = np.broadcast_to(k.reshape(-1), len(dense))
        if signature in (names.TOP_K, names.ENCODED_IMAGES_TOP_K):
            return self.listed(dense, counts)
        return {names.PROBABILITIES: self.head(dense, counts)}


class FakeServer:
    """A gRPC server on a free port that serves FakeModels by version, the newest unless one is asked for."""

    def __init__(self, model: FakeModel, port: int = 0, credentials=None) -> None:
        self.models = {model.version: model}
        self.labels = {}
        # The labels of the same models, served under other names too.
        self.others = {}
        self.requests = []
        self.metadata = []
        self.config = None
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        prediction = {"Predict": "predict", "GetModelMetadata": "get_metadata", "Classify": "classify"}
        model_service = {"GetModelStatus": "status", "HandleReloadConfigRequest": "reload"}
        for service, methods in (("PredictionService", prediction), ("ModelService", model_service)):
            handlers = {
                name: grpc.unary_unary_rpc_method_handler(self._answering(method)) for name, method in methods.items()
            }
            self._server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", handlers)]
            )
        if credentials:
            self.port = self._server.add_secure_port(f"localhost:{port}", credentials)
        else:
            self.port = self._server.add_insecure_port(f"localhost:{port}")
        self.address = f"localhost:{self.port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _answering(self, method):
        def answer(request, context):
            self.metadata.append(dict(context.invocation_metadata()))
            try:
                return getattr(self, method)(request)
            except ServedError as error:
                return context.abort(error.code, str(error))

        return answer

    def _model(self, spec) -> FakeModel:
        if spec.name not in ("letters", *self.others):
            raise ServedError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        version = max(self.models)
        if spec.HasField("version"):
            version = spec.version.value
        elif spec.version_label:
            labels = self.others.get(spec.name, self.labels)
            if spec.version_label not in labels:
                refuse(f"Unrecognized servable version label: {spec.version_label}")
            version = labels[spec.version_label]
        if version not in self.models:
            raise ServedError(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific(letters, {version})"
            )
        return self.models[version]

    def predict(self, data):
        request = messages.PredictRequest.FromString(data)
        model = self._model(request.model_spec)
        inputs = {name: decode_tensor(tensor) for name, tensor in request.inputs.items()}
        self.requests.append(SimpleNamespace(signature=request.model_spec.signature_name, inputs=inputs))
        signature = request.model_spec.signature_name or names.SERVING_DEFAULT
        if signature not in model.declared():
            raise ServedError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.')
        for name, array in inputs.items():
            wanted = model.declared()[signature]["inputs"][name]["dtype"]
            if (sent := "string" if array.dtype == object else array.dtype.name) != wanted:
                refuse(f"Expects arg[0] to be {wanted} but {sent} is provided")
        outputs = model.predict(signature, inputs)
        response = messages.PredictResponse()
        response.model_spec.name, response.model_spec.version.value = request.model_spec.name, model.version
        for name, array in outputs.items():
            if not request.output_filter or name in request.output_filter:
                response.outputs[name].CopyFrom(as_served(array))
        return response.SerializeToString()

    def classify(self, data):
        request = messages.ClassificationRequest.FromString(data)
        model = self._model(request.model_spec)
        response = messages.ClassificationResponse()
        for labels, scores in zip(*model.classify(request.input.example_list.examples), strict=True):
            classes = response.result.classifications.add().classes
            for label, score in zip(labels, scores, strict=True):
                classes.add(label=label.decode(), score=score)
        return response.SerializeToString()

    def get_metadata(self, data):
        request = messages.GetModelMetadataRequest.FromString(data)
        model = self._model(request.model_spec)
        response = messages.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = request.model_spec.name, model.version
        signatures = messages.SignatureDefMap()
        for key, stated in model.declared().items():
            definition = signatures.signature_def[key]
            definition.method_name = stated["method"]
            for side in ("inputs", "outputs"):
                for name, info in stated[side].items():
                    tensor = getattr(definition, side)[name]
                    tensor.dtype = type_number(info["dtype"])
                    if info["shape"] is None:
                        tensor.tensor_shape.unknown_rank = True
                    for size in info["shape"] or ():
                        tensor.tensor_shape.dim.add(size=size)
            if names.K in stated["inputs"] and model.tells_default_k:
                definition.defaults[names.K].CopyFrom(tensor_proto(np.array(model.default_k, np.int32)))
        response.metadata["signature_def"].Pack(signatures)
        return response.SerializeToString()

    def status(self, data):
        request = messages.GetModelStatusRequest.FromString(data)
        wanted = self._model(request.model_spec)
        response = messages.GetModelStatusResponse()
        states = {name: number for number, name in messages.VERSION_STATES.items()}
        for version, model in self.models.items():
            if version == wanted.version or not request.model_spec.HasField("version"):
                response.model_version_status.add(version=version, state=states[model.state])
        return response.SerializeToString()

    def reload(self, data):
        config = messages.ReloadConfigRequest.FromString(data).config
        for model in config.model_config_list.config:
            if model.name not in ("letters", *self.others):
                continue
            if absent := set(model.version_labels.values()) - set(self.models):
                raise ServedError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {absent.pop()} of model {model.name}, which is not currently "
                    "available for inference",
                )
            if model.name == "letters":
                self.labels = dict(model.version_labels)
            else:
                self.others[model.name] = dict(model.version_labels)
        self.config = config
        return messages.ReloadConfigResponse().SerializeToString()


def tensor_proto(array):
    return messages.TensorProto.FromString(b"".join(encode_tensor(array)))


def as_served(array):
    """A TensorProto as a server sends it: floats as repeated values, not as tensor_content."""
    proto = tensor_proto(array)
    if array.dtype == np.float32:
        proto.ClearField("tensor_content")
        proto.float_val.extend(array.reshape(-1).tolist())
    return proto


def tfrecord(payloads) -> bytes:
    return b"".join(struct.pack("<Q4x", len(payload)) + payload + b"\0" * 4 for payload in payloads)


def golden_payload(images, dense) -> bytes:
    log = messages.PredictionLog()
    request, response = log.predict_log.request, log.predict_log.response
    request.model_spec.name, request.model_spec.signature_name = "letters", names.SERVING_DEFAULT
    request.inputs[names.IMAGES].CopyFrom(tensor_proto(images))
    request.inputs[names.K].CopyFrom(tensor_proto(np.array([len(LABELS)], np.int32)))
    response.outputs[names.PROBABILITIES].CopyFrom(tensor_proto(dense))
    return log.SerializeToString()


def publish(model: FakeModel, base: Path, count: int = 9) -> Path:
    """Write what the exporter would about this model below base, and tell the model its golden digest."""
    extra = base / str(model.version) / names.ASSETS_EXTRA
    extra.mkdir(parents=True)
    pixels = np.random.default_rng(7).integers(0, 256, (count, 1, SIDE, SIDE, 1))
    pictures = pixels.astype(np.float32) / 255
    content = tfrecord(golden_payload(images, model.dense(images)) for images in pictures)
    model.digest = hashlib.sha256(content).hexdigest()
    (extra / names.GOLDEN_FILE).write_bytes(content)
    export = {
        "export_id": model.export_id,
        "model": "letters",
        "k": model.k,
        "labels": list(model.labels),
        "preprocessing": model.preprocessing,
        "golden_digest": model.digest,
        "signatures": model.declared(),
        "files": {f"{names.ASSETS_EXTRA}/{names.GOLDEN_FILE}": model.digest},
    }
    (extra / names.EXPORT_FILE).write_text(json.dumps(export))
    return extra.parent


@pytest.fixture
def model() -> FakeModel:
    model = FakeModel()
    model.takes_files = True
    return model


@pytest.fixture
def server(model):
    server = FakeServer(model)
    yield server
    server.stop()


@pytest.fixture
def version(model, tmp_path) -> Path:
    """The directory of the published version that the server serves."""
    return publish(model, tmp_path / "letters")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(3).random((5, SIDE, SIDE, 1), np.float32)


@pytest.fixture
def fake():
    """What tests need to make servers and versions of their own."""
    return SimpleNamespace(
        Model=FakeModel,
        Server=FakeServer,
        publish=publish,
        tfrecord=tfrecord,
        Error=ServedError,
        INTERNAL=grpc.StatusCode.INTERNAL,
    )
