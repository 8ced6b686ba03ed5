"""The settings and the text files that they name."""

import pytest

from server.config import (
    BatchingParameters,
    check,
    read_batching_parameters,
    read_channel_arguments,
    read_metrics_path,
    read_model_server_config,
)
from server.errors import ServingError
from server.settings import Settings


def test_one_model_from_name_and_path():
    config = read_model_server_config(Settings(model_name="digits", model_base_path="/srv/digits"))
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("digits", "/srv/digits", "tensorflow")


def test_neither_path_nor_file_is_refused():
    with pytest.raises(ServingError, match="are empty"):
        check(Settings())


def test_a_file_replaces_name_and_path(tmp_path):
    file = tmp_path / "models.config"
    file.write_text('model_config_list { config { name: "a" version_labels { key: "stable" value: 3 } } }')
    config = read_model_server_config(Settings(model_config_file=file, model_base_path="/srv/digits"))
    assert dict(config.model_config_list.config[0].version_labels) == {"stable": 3}


@pytest.mark.parametrize("text", ["model_config_list { config { nam: 1 } }", "}", "\0", "improperly formatted file"])
def test_a_file_that_is_not_in_the_text_format_is_named(tmp_path, text):
    file = tmp_path / "models.config"
    file.write_text(text)
    words = "Error parsing text-format tensorflow.serving.ModelServerConfig: "
    with pytest.raises(ServingError, match=f"^{words}.*Invalid protobuf file: '{file}'"):
        read_model_server_config(Settings(model_config_file=file))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true, path: '/metrics' }", "/metrics"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("prometheus_config { path: '/metrics' }", None),
        ("", None),
    ],
)
def test_a_monitoring_file_says_where_the_metrics_are(tmp_path, text, path):
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    assert read_metrics_path(Settings(monitoring_config_file=file)) == path


def test_a_monitoring_file_that_is_not_in_the_text_format_is_named(tmp_path):
    file = tmp_path / "monitoring.config"
    file.write_text("prometheus { enable: true }")
    with pytest.raises(ServingError, match=f"Invalid protobuf file: '{file}'"):
        check(Settings(monitoring_config_file=file, model_base_path="/m"))


def test_channel_arguments_are_numbers_where_they_fit_an_int32():
    text = "grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb,a=-1,b=2147483648,c=1=2,"
    assert read_channel_arguments(Settings(grpc_channel_arguments=text)) == [
        ("grpc.max_connection_age_ms", 2000),
        ("grpc.lb_policy_name", "grpclb"),
        ("a", -1),
        ("b", "2147483648"),
        ("c", "1=2"),
    ]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ServingError, match=r"Cannot read .*absent: No such file"):
        read_model_server_config(Settings(model_config_file=tmp_path / "absent"))


def test_batching_is_off_unless_asked_for_and_has_defaults():
    assert read_batching_parameters(Settings()) is None
    assert read_batching_parameters(Settings(enable_batching=True)) == BatchingParameters(
        thread_pool_name="model_server_batch_threads"
    )


def test_batching_parameters_come_from_their_file(tmp_path):
    file = tmp_path / "batching.config"
    file.write_text(
        "max_batch_size { value: 32 } batch_timeout_micros { value: 2000 } max_enqueued_batches { value: 100 } "
        "num_batch_threads { value: 2 } thread_pool_name { value: 'x' } allowed_batch_sizes: 1 allowed_batch_sizes: 32 "
        "pad_variable_length_inputs: true"
    )
    assert read_batching_parameters(
        Settings(enable_batching=True, batching_parameters_file=file)
    ) == BatchingParameters(
        max_batch_size=32,
        batch_timeout_micros=2000,
        max_enqueued_batches=100,
        num_batch_threads=2,
        thread_pool_name="x",
        allowed_batch_sizes=(1, 32),
        pad_variable_length_inputs=True,
    )


def test_a_batching_file_without_the_flag_is_refused(tmp_path):
    with pytest.raises(ServingError, match="without setting server_options"):
        read_batching_parameters(Settings(batching_parameters_file=tmp_path / "batching.config"))


def test_allowed_sizes_must_end_with_the_largest(tmp_path):
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 32 } allowed_batch_sizes: 16")
    with pytest.raises(ServingError, match="last entry was 16; expected 32"):
        read_batching_parameters(Settings(enable_batching=True, batching_parameters_file=file))


@pytest.mark.parametrize("path", ["/srv/m", "gs://bucket/m"])
def test_a_base_path_may_be_absolute_or_a_uri(path):
    check(Settings(model_base_path=path))


@pytest.mark.parametrize("path", ["m", "./m", "~/m"])
def test_a_relative_base_path_is_refused(path):
    with pytest.raises(ServingError, match=f"to have an absolute path or URI; got base_path\\(\\)={path}"):
        check(Settings(model_base_path=path))
