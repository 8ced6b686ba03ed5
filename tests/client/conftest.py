"""A small server that answers as TensorFlow Serving does, and a published version to hold it against; no TensorFlow."""

import hashlib
import html
import io
import json
import re
import shutil
import struct
import subprocess
from concurrent import futures
from importlib.resources import files
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
    """A served export in numpy: a linear classifier of 4x4 gray images. Tests replace its methods with wrong ones."""

    def __init__(self, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.weights = random.normal(0, 3, (SIDE * SIDE, len(LABELS))).astype(np.float32)
        self.bias = random.normal(0, 0.3, len(LABELS)).astype(np.float32)
        self.version, self.k, self.labels = 1, 2, LABELS
        self.default_k = 2
        # What is exported beside k, and what applies if a request leaves min_score out.
        self.min_score, self.thresholds, self.default_min_score = 0.0, (), 0.0
        # Whether it was exported since there is a min_score.
        self.takes_min_score = True
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
        if self.takes_min_score:
            values[names.THRESHOLDS] = json.dumps(list(self.thresholds))
        outputs = {name: np.full(len(probe), value.encode(), object) for name, value in values.items()}
        if self.takes_min_score:
            outputs[names.MIN_SCORE] = np.full(len(probe), self.min_score, np.float32)
        return {**outputs, names.K: np.full(len(probe), self.k, np.int32)}

    def bounds(self, signature, min_score):
        """The lowest score to keep of each row and label, [B, N], from one min_score a row."""
        bounds = np.repeat(min_score[:, None], len(self.labels), 1)
        return np.maximum(bounds, np.array(self.thresholds, np.float32)) if self.thresholds else bounds

    def below(self, scores, bounds):
        return (scores < bounds) & (bounds > 0)

    def limited(self, signature, dense, counts, min_score):
        """What a signature answers: the k largest of each row, less what is below a bound."""
        bounds = self.bounds(signature, min_score)
        if signature in (names.TOP_K, names.ENCODED_IMAGES_TOP_K, names.CLASSIFY):
            return self.without(self.listed(dense, counts), bounds)
        rows = self.head(dense, counts)
        return {names.PROBABILITIES: np.where(self.below(rows, bounds), np.float32(0), rows)}

    def without(self, listed, bounds):
        """A list of the kept entries, those below a bound taken out and the others moved up."""
        unused = {names.INDICES: -1, names.SCORES: 0, names.LABELS: b""}
        if any(listed.get(name, np.zeros(0)).shape[:1] != bounds.shape[:1] for name in unused):
            return listed
        listed = {name: array.copy() for name, array in listed.items()}
        for row, indices in enumerate(listed[names.INDICES].copy()):
            own = bounds[row, np.clip(indices, 0, len(self.labels) - 1)]
            kept = ~(self.below(listed[names.SCORES][row], own) & (indices >= 0))
            for name, array in listed.items():
                places = array[row][kept]
                array[row] = unused[name]
                array[row, : len(places)] = places
        return listed

    def declared(self):
        """Signatures as export.json has them."""
        images = {names.IMAGES: {"dtype": "float32", "shape": [-1, SIDE, SIDE, 1]}}
        k = {names.K: {"dtype": "int32", "shape": None}}
        if self.takes_min_score:
            k[names.MIN_SCORE] = {"dtype": "float32", "shape": None}
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
        if self.takes_min_score:
            info |= {
                names.MIN_SCORE: {"dtype": "float32", "shape": [-1]},
                names.THRESHOLDS: {"dtype": "string", "shape": [-1]},
            }
        every_score = {names.DENSE_PROBABILITIES: dense[names.PROBABILITIES]}
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
        if self.thresholds:
            every[names.DENSE] = {"method": METHOD, "inputs": images, "outputs": every_score}
            if self.takes_files:
                every[names.ENCODED_IMAGES_DENSE] = {"method": METHOD, "inputs": encoded, "outputs": every_score}
        always = {names.SERVING_DEFAULT, names.EXPORT_INFO, names.DENSE, names.ENCODED_IMAGES_DENSE}
        return {key: stated for key, stated in every.items() if self.keys is None or key in always | set(self.keys)}

    def decode(self, files):
        decoded = [np.asarray(Image.open(io.BytesIO(file)).convert("L").resize((SIDE, SIDE))) for file in files]
        return (np.stack(decoded)[..., None] / 255).astype(np.float32)

    def classify(self, examples):
        """Classes and scores of tf.Example messages."""
        features = [example.features.feature for example in examples]
        files = [feature[names.IMAGE_FEATURE].bytes_list.value[0] for feature in features]
        k = [next(iter(feature[names.K].int64_list.value), self.k) for feature in features]
        sent = [next(iter(feature[names.MIN_SCORE].float_list.value), self.min_score) for feature in features]
        min_score = np.array(sent if self.takes_min_score else [0] * len(sent), np.float32)
        dense = self.dense(self.decode(files))
        listed = self.limited(names.CLASSIFY, dense, np.array(k), min_score)
        width = max(np.count_nonzero(row != b"") for row in listed[names.LABELS])
        return listed[names.LABELS][:, :width], listed[names.SCORES][:, :width]

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
        if signature in (names.DENSE, names.ENCODED_IMAGES_DENSE):
            return {names.DENSE_PROBABILITIES: dense}
        if signature == names.FIXED_K:
            limits = np.full(len(dense), self.k), np.full(len(dense), self.min_score, np.float32)
            return self.limited(signature, dense, *limits)
        counts = self.of_each(names.K, inputs, self.default_k, len(dense))
        min_score = np.zeros(len(dense), np.float32)
        if self.takes_min_score:
            min_score = self.of_each(names.MIN_SCORE, inputs, np.float32(self.default_min_score), len(dense))
        if not np.isfinite(min_score).all():
            refuse("min_score must be a finite number")
        return self.limited(signature, dense, counts, min_score)

    def of_each(self, name, inputs, default, examples):
        """One k or min_score for each example."""
        value = inputs.get(name)
        if self.batching and (value is None or not value.ndim):
            refuse("Batching Run() input tensors must have at least one dimension")
        if self.batching and len(value) != examples:
            refuse("Batching Run() input tensors must have equal 0th-dimension size")
        value = np.array(default) if value is None else value
        if value.shape not in ((), (1,), (examples,)):
            refuse(f"{name} has shape {list(value.shape)}")
        return np.broadcast_to(value.reshape(-1), examples)


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
            defaults = {names.K: np.int32(model.default_k), names.MIN_SCORE: np.float32(model.default_min_score)}
            for name, default in defaults.items():
                if name in stated["inputs"] and model.tells_default_k:
                    definition.defaults[name].CopyFrom(tensor_proto(np.array(default)))
        response.metadata["signature_def"].Pack(signatures)
        return response.SerializeToString()

    def status(self, data):
        request = messages.GetModelStatusRequest.FromString(data)
        # A real server does not look at a label here.
        request.model_spec.ClearField("version_label")
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
    scaled = pixels.astype(np.float32) / 255
    content = tfrecord(golden_payload(images, model.dense(images)) for images in scaled)
    model.digest = hashlib.sha256(content).hexdigest()
    (extra / names.GOLDEN_FILE).write_bytes(content)
    export = {
        "export_id": model.export_id,
        "model": "letters",
        "k": model.k,
        "labels": list(model.labels),
        "preprocessing": model.preprocessing,
        "golden_digest": model.digest,
        "min_score": model.min_score,
        "thresholds": list(model.thresholds),
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


@pytest.fixture
def browser():
    """The path of a browser. The CI installs it; not everyone who runs the tests has to."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("needs Chromium; on Debian: apt-get install chromium")
    return path


@pytest.fixture
def accessibility_faults(browser, tmp_path):
    """Return a function that opens a page in a browser and lists what axe-core finds wrong with it."""
    pytest.importorskip("axe_core_python", reason="needs axe-core-python")
    script = files("axe_core_python").joinpath("axe.min.js").read_text("utf-8").replace("</script", r"<\/script")
    run_axe = "axe.run().then(r => document.title = JSON.stringify(r.violations.map(v => [v.id, v.nodes.length])))"

    def faults(text):
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        page = tmp_path / "page.html"
        page.write_text(text.replace("</body>", f"<script>{script}</script><script>{run_axe}</script></body>"), "utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
        command = [browser, *options, page.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", shown).group(1)))

    return faults
