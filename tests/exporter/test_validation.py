"""Each proof, against a version that must fail it: the export says why, and publishes nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import exporter.staging
import exporter.writing.saved_model
import signatures.input_forms
import signatures.output_forms
from exporter import Classifier, ExportOptions, Samples, ValidationError, export
from exporter.writing.prediction_logs import warmup_records
from exporter.writing.saved_model import exported_variables, write_saved_model
from signatures import Identity, rank_top_k, sparsify_top_k
from signatures.contract import names

LABELS = 5


@keras.saving.register_keras_serializable(package="tests")
class Mean(keras.layers.Layer):
    """Scores of any shape of example, so that nothing but a guard refuses a wrong one."""

    def build(self, input_shape):
        self.weight = self.add_weight(shape=(LABELS,), initializer="random_normal", name="weight")

    def call(self, x):
        return tf.sigmoid(tf.reduce_mean(tf.reshape(x, [tf.shape(x)[0], -1]), axis=1, keepdims=True) * self.weight)


def classifier(layer=None):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="features")
    middle = inputs if layer is None else layer(inputs)
    return Classifier(keras.Model(inputs, Mean()(middle)), "toy")


def with_one_more(head):
    return lambda dense, k, *bounds: head(dense, tf.minimum(k, LABELS) + 1, *bounds)


def assert_refused(output, words, of=None, **options):
    with pytest.raises(ValidationError, match=words):
        export(of or classifier(), output, k=2, options=ExportOptions(**options))
    assert list(output.iterdir()) == []


def test_a_head_that_keeps_one_more_is_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(signatures.output_forms, "sparsify_top_k", with_one_more(sparsify_top_k))
    assert_refused(tmp_path, r"3 scores are not zero, at most 2 may be|1 scores are not zero, at most 0 may be")


def test_a_list_of_one_more_is_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(signatures.output_forms, "rank_top_k", with_one_more(rank_top_k))
    assert_refused(tmp_path, r"(top_k|classify) with k .* \[2, 3\], expected \w+ \[2, 2\]")


def test_labels_that_are_mixed_up_are_not_published(tmp_path, monkeypatch):
    def mixed_up(read, model, k, labels, *rest, **limits):
        return Identity(read, model, k, labels[::-1], *rest, **limits)

    monkeypatch.setattr(exporter.staging, "Identity", mixed_up)
    assert_refused(tmp_path, r"is labeled|is wrong for sample")


def test_other_answers_than_the_keras_models_are_not_published(tmp_path, monkeypatch):
    def write_another(directory, model, *rest):
        model.layers[-1].weight.assign(model.layers[-1].weight + 1)
        return write_saved_model(directory, model, *rest)

    monkeypatch.setattr(exporter.staging, "write_saved_model", write_another)
    assert_refused(tmp_path, r"serving_default with k = N is wrong for sample 0: the score is .*, expected")


def test_a_guard_that_is_missing_is_found(tmp_path, monkeypatch):
    def believe(received, declared, id_bounds):
        for name, spec in declared.items():
            received[name].set_shape(spec.shape)
        return [received[name] for name in declared]

    monkeypatch.setattr(signatures.input_forms, "guard_inputs", believe)
    assert_refused(tmp_path, r"answers a request with features of shape \[2, 4, 2\], which it should refuse")


def test_a_k_that_is_not_guarded_is_found(tmp_path, monkeypatch):
    def anything_goes(name, k, example_input):
        return tf.broadcast_to(tf.reshape(k, [-1])[:1], [tf.shape(example_input)[0]])

    monkeypatch.setattr(signatures.input_forms, "one_for_each_example", anything_goes)
    assert_refused(tmp_path, r"with k = \[|answers a request with k of shape")


@pytest.mark.parametrize("inputs", ["a wrong shape", "one k for two examples"])
def test_a_warmup_request_that_would_fail_on_a_server_is_found(inputs, tmp_path, monkeypatch):
    def spoilt(*arguments):
        *records, last = warmup_records(*arguments)
        sent = last.predict_log.request.inputs
        if inputs == "a wrong shape":
            sent["features"].CopyFrom(tf.make_tensor_proto(np.zeros((4, 9), np.float32)))
        else:
            sent[names.K].CopyFrom(tf.make_tensor_proto(np.int32(2)))
        return iter([*records, last])

    monkeypatch.setattr(exporter.staging, "warmup_records", spoilt)
    words = {"a wrong shape": "fails: ", "one k for two examples": "has inputs of different lengths"}
    assert_refused(tmp_path, rf"Warm-up request \d+ to serving_default {words[inputs]}")


def test_metadata_that_lies_is_found(tmp_path, monkeypatch):
    def lie(directory, *rest):
        written = write_saved_model(directory, *rest)
        file = directory / "saved_model.pb"
        saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        info = saved.meta_graphs[0].signature_def[names.SERVING_DEFAULT].inputs["features"]
        info.tensor_shape.dim[1].size = 7
        file.write_bytes(saved.SerializeToString(deterministic=True))
        return written

    monkeypatch.setattr(exporter.staging, "write_saved_model", lie)
    assert_refused(
        tmp_path, r"metadata of serving_default declares features as float32 \(None, 7\), but float32 \(None, 4\)"
    )


def test_a_version_that_says_it_is_another_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(
        exporter.staging, "Identity", lambda *given, **limits: Identity(*given[:-1], "0" * 64, **limits)
    )
    assert_refused(tmp_path, "export_info answers golden_digest")


def test_weights_stored_twice_are_found(tmp_path, monkeypatch):
    def twice(model):
        return [*exported_variables(model), *map(tf.Variable, exported_variables(model))]

    monkeypatch.setattr(exporter.writing.saved_model, "exported_variables", twice)
    assert_refused(tmp_path, f"The variables take {2 * LABELS * 4} bytes, but the model's take {LABELS * 4}")


class CallsPython(keras.layers.Layer):
    def __init__(self, call_python):
        super().__init__()
        self.call_python = call_python

    def call(self, x):
        return tf.ensure_shape(self.call_python(lambda array: array * 2, [x], tf.float32), [None, 4])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


@pytest.mark.parametrize(
    ("call_python", "op"), [(tf.numpy_function, "PyFunc"), (tf.py_function, "EagerPyFunc")], ids=["numpy", "eager"]
)
def test_a_model_that_calls_python_is_not_published(call_python, op, tmp_path):
    assert_refused(tmp_path, f"calls Python code through {op}", of=classifier(CallsPython(call_python)))


class OnlyOnACpu(keras.layers.Layer):
    def call(self, x):
        return x - tf.raw_ops.NthElement(input=x, n=0)[:, tf.newaxis]


def test_an_op_that_would_leave_the_gpu_is_a_warning_and_refused_when_kernels_are_required(tmp_path):
    of = classifier(OnlyOnACpu())

    assert_refused(tmp_path, r"without a GPU kernel.*NthElement \(float32", of=of, require_gpu_kernels=True)
    version = export(of, tmp_path, k=2)
    assert any("NthElement" in warning for warning in version.warnings)


def test_what_failed_is_kept_where_the_error_says_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(signatures.output_forms, "sparsify_top_k", with_one_more(sparsify_top_k))

    with pytest.raises(ValidationError) as failed:
        export(classifier(), tmp_path, k=2, options=ExportOptions(keep_failed=True))

    (kept,) = (tmp_path / "toy").iterdir()
    assert failed.value.__notes__ == [f"The failed version is kept in {kept}."]
    assert kept.name.startswith(".failed-")
    assert (kept / "saved_model.pb").exists()
    monkeypatch.undo()
    assert export(classifier(), tmp_path, k=2).version == 1
    assert kept.exists()


def texts_padded_together(length):
    """A model of texts that are padded to the longest of the batch, or to a length, and averaged with their padding."""
    keras.utils.set_random_seed(2)
    text = keras.Input((), dtype="string", name="text")
    ids = keras.layers.TextVectorization(vocabulary=["red", "green", "blue"], output_sequence_length=length)(text)
    averaged = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5, 4)(ids))
    model = keras.Model(text, keras.layers.Dense(LABELS, "sigmoid", kernel_initializer="random_normal")(averaged * 50))
    samples = Samples({"text": np.array([b"red green", b"blue", b"red red red"], object)})
    return Classifier(model, "toy"), samples


def test_an_answer_that_depends_on_the_other_texts_of_a_request_is_not_published(tmp_path):
    # A fuzz found it: three samples in one batch, as Keras had them too, were right, and each alone was wrong.
    model, samples = texts_padded_together(None)
    words = r"answers sample \d differently when it is sent alone.*output_sequence_length"
    with pytest.raises(ValidationError, match=words):
        export(model, tmp_path, k=2, samples=samples)
    assert list(tmp_path.iterdir()) == []
    model, samples = texts_padded_together(3)
    assert export(model, tmp_path, k=2, samples=samples).version == 1


@keras.saving.register_keras_serializable(package="tests")
class MeanOfTheBatch(keras.layers.Layer):
    """What computes across examples."""

    def call(self, x):
        return x - tf.reduce_mean(x, axis=0, keepdims=True)


def test_an_answer_that_depends_on_the_other_examples_is_not_published(tmp_path):
    assert_refused(
        tmp_path, "differently when it is sent alone|k = N is wrong for sample", classifier(MeanOfTheBatch())
    )
