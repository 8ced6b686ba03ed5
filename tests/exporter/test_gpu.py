import json
from dataclasses import asdict
from io import StringIO

import pytest
import tensorflow as tf
from rich.console import Console
from tensorflow.core.framework import kernel_def_pb2
from tensorflow.python.framework import kernels

from exporter.errors import ExportError
from exporter.validation.gpu_kernels import gpu_readiness, readiness_table

PICTURES = tf.TensorSpec([None, 16, 16, 3], tf.float32)


def save(path, backbone, around=None, *, device=None):
    """Save a model as an export is: a backbone traced once, and signatures that call it."""
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones([3, 3, 3, 8]))
    module.dense = tf.Variable(tf.ones([8, 4]))

    def traced(pictures):
        return backbone(module, pictures)

    traced.__name__ = "backbone"
    traced = tf.function(traced, input_signature=[PICTURES], autograph=False)

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="images")])
    def serve(images):
        with tf.device(device):
            return {"probabilities": traced(tf.ensure_shape(images, PICTURES.shape))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="encoded")])
    def serve_encoded(encoded):
        def decode(content):
            return tf.cast(tf.io.decode_jpeg(content, channels=3), tf.float32)

        return {"probabilities": traced(tf.map_fn(decode, encoded, fn_output_signature=tf.float32))}

    module.serve, module.serve_encoded = serve, serve_encoded
    tf.saved_model.save(module, str(path), {"serving_default": serve, "encoded_images": serve_encoded})
    return path


def convolutional(module, pictures):
    features = tf.nn.relu(tf.nn.conv2d(pictures, module.kernel, 1, "SAME"))
    return tf.nn.softmax(tf.reduce_mean(features, [1, 2]) @ module.dense)


def with_area_resizing(module, pictures):
    return convolutional(module, tf.raw_ops.ResizeArea(images=pictures, size=[8, 8]))


def with_area_resizing_in_a_branch(module, pictures):
    def small():
        return tf.raw_ops.ResizeArea(images=pictures, size=[8, 8])

    return convolutional(module, tf.cond(tf.shape(pictures)[0] > 1, small, lambda: pictures[:, :8, :8]))


def uses(readiness, key="serving_default"):
    return {(use.op, use.dtypes, use.in_backbone): use for use in readiness.signatures[key]}


@pytest.fixture(scope="module")
def convolutional_model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model"), convolutional)


@pytest.fixture
def without_gpu_kernels(monkeypatch):
    """The registry of the tensorflow-cpu wheel."""
    everything = kernels.get_all_registered_kernels()
    some = kernel_def_pb2.KernelList()
    some.kernel.extend(kernel for kernel in everything.kernel if kernel.device_type != "GPU")
    monkeypatch.setattr(kernels, "get_all_registered_kernels", lambda: some)


def test_a_convolutional_backbone_runs_on_the_gpu_whole(convolutional_model):
    readiness = gpu_readiness(convolutional_model, "backbone")

    assert readiness.known
    assert set(readiness.signatures) == {"serving_default", "encoded_images"}
    assert readiness.cpu_ops_in_backbone == ()
    found = uses(readiness)
    for op in ("Conv2D", "Relu", "MatMul", "Softmax"):
        assert found[op, ("float32",), True].device == "GPU"


def test_what_lives_in_host_memory_is_told(convolutional_model):
    found = uses(gpu_readiness(convolutional_model, "backbone"))

    # The axes of a mean are read by the host, which starts the kernel; the picture is not.
    assert found["Mean", ("float32", "int32"), True].host_memory == ("reduction_indices",)
    assert found["Conv2D", ("float32",), True].host_memory == ()


def test_decoding_outside_the_backbone_is_the_cpus_and_expected(convolutional_model):
    readiness = gpu_readiness(convolutional_model, "backbone")

    decoding = uses(readiness, "encoded_images")["DecodeJpeg", (), False]
    assert decoding.device == "CPU"
    assert readiness.cpu_ops_in_backbone == ()


@pytest.mark.parametrize("backbone", [with_area_resizing, with_area_resizing_in_a_branch])
def test_an_op_without_a_gpu_kernel_inside_the_backbone_is_found_however_deep(tmp_path, backbone):
    # Or this test could not fail.
    registered = kernels.get_registered_kernels_for_op("ResizeArea").kernel
    assert {kernel.device_type for kernel in registered} == {"CPU"}

    readiness = gpu_readiness(save(tmp_path, backbone), "backbone")

    assert readiness.cpu_ops_in_backbone == ("ResizeArea (float32)",)


def test_the_same_op_before_the_backbone_is_fine(tmp_path):
    module = tf.Module()
    module.kernel, module.dense = tf.Variable(tf.ones([3, 3, 3, 8])), tf.Variable(tf.ones([8, 4]))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    def backbone(pictures):
        return convolutional(module, pictures)

    @tf.function(input_signature=[PICTURES])
    def serve(pictures):
        return {"probabilities": backbone(tf.raw_ops.ResizeArea(images=pictures, size=[8, 8]))}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path), {"serving_default": serve})

    readiness = gpu_readiness(tmp_path, "backbone")

    assert readiness.cpu_ops_in_backbone == ()
    assert uses(readiness)["ResizeArea", ("float32",), False].device == "CPU"


def test_a_kernel_counts_only_for_the_types_that_it_has(tmp_path):
    def gathers_strings(module, pictures):
        labels = tf.gather(tf.constant(["a", "b", "c", "d"]), tf.argmax(convolutional(module, pictures), 1))
        return tf.cast(tf.strings.length(labels), tf.float32)

    readiness = gpu_readiness(save(tmp_path, gathers_strings), "backbone")

    # Gather has a GPU kernel, but not for strings. The constant is read by the gather, and does not count by itself.
    assert readiness.cpu_ops_in_backbone == ("GatherV2 (string, int64, int32)", "StringLength")


def test_a_backbone_that_is_pinned_to_the_cpu_is_found(tmp_path):
    readiness = gpu_readiness(save(tmp_path, convolutional, device="/CPU:0"), "backbone")

    pinned = {use.device for use in readiness.signatures["serving_default"] if use.in_backbone}
    assert pinned == {"CPU"}
    assert "Conv2D (float32)" in readiness.cpu_ops_in_backbone


def test_a_backbone_in_a_batch_function_is_looked_into(tmp_path):
    module = tf.Module()
    module.kernel, module.dense = tf.Variable(tf.ones([3, 3, 3, 8])), tf.Variable(tf.ones([8, 4]))

    @tf.function(input_signature=[PICTURES])
    def backbone(pictures):
        return with_area_resizing(module, pictures)

    @tf.nondifferentiable_batch_function(1, 8, 1000, allowed_batch_sizes=[8])
    def batched(pictures):
        return backbone(pictures)

    @tf.function(input_signature=[PICTURES])
    def serve(pictures):
        return {"probabilities": batched(pictures)}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path), {"serving_default": serve})

    readiness = gpu_readiness(tmp_path, "backbone")

    assert readiness.cpu_ops_in_backbone == ("ResizeArea (float32)",)
    (batch,) = [use for use in readiness.signatures["serving_default"] if use.op == "BatchFunction"]
    assert {"in_tensors", "out_tensors"} <= set(batch.host_memory)


def test_without_gpu_kernels_in_this_tensorflow_nothing_is_claimed(convolutional_model, without_gpu_kernels):
    readiness = gpu_readiness(convolutional_model, "backbone")

    assert not readiness.known
    assert readiness.cpu_ops_in_backbone == ()
    assert "Unknown" in shown(readiness)


def test_a_backbone_of_another_name_is_an_error_and_not_a_clean_bill(convolutional_model):
    with pytest.raises(ExportError, match="'body'"):
        gpu_readiness(convolutional_model, "body")


def test_the_result_goes_into_json_and_a_small_table(convolutional_model):
    readiness = gpu_readiness(convolutional_model, "backbone")

    loaded = json.loads(json.dumps(asdict(readiness)))
    assert loaded["known"] is True
    ops = {use["op"] for use in loaded["signatures"]["serving_default"]}
    assert "Conv2D" in ops

    text = shown(readiness)
    assert "serving_default" in text


def shown(readiness):
    console = Console(file=StringIO(), width=140)
    console.print(readiness_table(readiness))
    return console.file.getvalue()
