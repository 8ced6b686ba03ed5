"""Loading as the C++ loader does, beyond what the lifecycle shows."""

import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

from server.errors import ServingError
from server.loader import load


@pytest.fixture
def version(make_version, tmp_path):
    make_version(tmp_path / "1", 2.0)
    return tmp_path / "1"


def test_the_loader_can_be_used_without_the_services():
    code = (
        "import sys, server.loader\n"
        "assert not {'server.rpc.services', 'server.rest.app', 'tensorflow_serving', 'waitress'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, timeout=120)


def test_feeds_may_come_in_any_order(version):
    session = load(version, xla_enabled=False)
    feeds = {"multiply_z:0": np.float32([2]), "multiply_x:0": np.float32([3])}
    output = session.signatures["multiply"].outputs["y"].name
    assert session.run(feeds, [output])[0].tolist() == [6]
    session.close()


def test_a_missing_data_file_fails_the_load(version):
    for file in (version / "variables").glob("variables.data*"):
        file.unlink()
    with pytest.raises(ServingError) as caught:
        load(version, xla_enabled=False)
    assert caught.value.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS)


@pytest.mark.parametrize("content", [b"\xff\xff", b"no protobuf at all"])
def test_bytes_that_are_not_a_saved_model_are_data_loss(version, content):
    (version / "saved_model.pb").write_bytes(content)
    with pytest.raises(ServingError, match=r"Can't parse .*saved_model\.pb as binary proto") as caught:
        load(version, xla_enabled=False)
    assert caught.value.code is grpc.StatusCode.DATA_LOSS


def as_text(version):
    file = version / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    file.unlink()
    return version / "saved_model.pbtxt", text_format.MessageToString(saved_model)


def test_a_saved_model_in_text_form_is_loaded(version):
    file, text = as_text(version)
    file.write_text(text)
    session = load(version, xla_enabled=False)
    signature = session.signatures["scale"]
    feeds = {signature.inputs["x"].name: np.float32([3])}
    assert session.run(feeds, [signature.outputs["y"].name])[0].tolist() == [6]
    session.close()


@pytest.mark.parametrize("content", [b"meta_graph {", b"\xff"])
def test_a_text_that_cannot_be_parsed_is_data_loss(version, content):
    file, _ = as_text(version)
    file.write_bytes(content)
    with pytest.raises(ServingError, match=r"Can't parse .*saved_model\.pbtxt as text proto") as caught:
        load(version, xla_enabled=False)
    assert caught.value.code is grpc.StatusCode.DATA_LOSS


def test_an_unknown_op_fails_the_load(version):
    file = version / "saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"VarHandleOp", b"VarHandelOp"))
    with pytest.raises(ServingError, match="VarHandelOp"):
        load(version, xla_enabled=False)


def test_a_model_written_with_the_old_builder_loads_with_its_assets_and_main_op(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("zero\none\n")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf1 = tf.compat.v1
        path = tf.constant(str(words))
        tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, path)
        table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            1,
        )
        given = tf1.placeholder(tf.string, [None])
        bias = tf1.get_variable("bias", initializer=np.int64(10))
        output = table.lookup(given) + bias
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        builder = tf1.saved_model.builder.SavedModelBuilder(str(tmp_path / "1"))
        signature = tf1.saved_model.predict_signature_def({"words": given}, {"numbers": output})
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
            main_op=tf1.tables_initializer(),
        )
        builder.save()
    words.unlink()
    loaded = load(Path(tmp_path / "1"), xla_enabled=False)
    feeds = {given.name: np.array([b"one", b"zero"], object)}
    assert loaded.run(feeds, [output.name])[0].tolist() == [11, 10]
    loaded.close()


def test_loading_and_closing_again_and_again_keeps_no_memory(version):
    import resource

    def use():
        session = load(version, xla_enabled=False)
        session.run({"scale_x:0": np.float32([1])}, [session.signatures["scale"].outputs["y"].name])
        session.close()

    for _ in range(5):
        use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        use()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
