"""Configurations: several models, version policies, labels, and what HandleReloadConfigRequest does and refuses."""

import shutil
import time

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

END, GOOD = "END", "AVAILABLE"


@pytest.fixture
def ask(serve, make_version, base, client):
    """A client of a server that serves versions 1 and 2 of one model, by a policy that asks for all."""
    make_version(base / "1", 1.0)
    make_version(base / "2", 2.0)
    config = base.parent / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "scaler" base_path: "{base}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    ask = client(serve(model_config_file=config))
    ask.wait_for({1: GOOD, 2: GOOD})
    return ask


def keep(base, *versions, **labels):
    return {
        "base_path": str(base),
        "model_version_policy": {"specific": {"versions": versions}},
        "version_labels": labels,
    }


def test_labels_name_loaded_versions(ask, base):
    response = ask.reload(keep(base, 1, 2, stable=1, canary=2))
    assert response.status.error_code == 0
    assert ask.scale(3, label="stable") == [3]
    assert ask.scale(3, label="canary") == [6]
    assert ask.scale(3) == [6]


def test_a_label_on_a_version_that_is_not_available_is_refused(ask, base):
    ask.reload(keep(base, 1, 2, stable=1))
    assert ask.reload_error(keep(base, 1, 2, stable=7)) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 7 of model scaler, which is not currently available for inference",
    )
    assert ask.scale(3, label="stable") == [3]


def test_a_reload_without_a_label_takes_it_away(ask, base):
    ask.reload(keep(base, 1, 2, stable=1))
    ask.reload(keep(base, 1, 2))
    assert ask.error({"x": [1.0]}, "scale", label="stable") == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    )


def test_specific_versions_unload_the_others_and_absent_ones_are_never_listed(ask, base):
    ask.reload(keep(base, 1, 9))
    ask.wait_for({1: GOOD, 2: END})
    assert ask.scale(3) == [3]


def test_an_empty_list_unloads_everything(ask):
    ask.reload()
    ask.wait_for({1: END, 2: END})


def test_a_config_without_a_base_path_is_refused(ask):
    message = "Expected model scaler to have an absolute path or URI; got base_path()="
    assert ask.reload_error({}) == ("INVALID_ARGUMENT", message)
    assert ask.reload_error({"base_path": "models/scaler"}) == ("INVALID_ARGUMENT", message + "models/scaler")
    assert ask.scale(3) == [6]


def test_one_name_twice_is_refused(ask, base):
    assert ask.reload_error(keep(base, 1), keep(base, 2)) == (
        "INVALID_ARGUMENT",
        "Illegal to list model scaler multiple times in config list",
    )


@pytest.mark.parametrize(
    ("platform", "message"),
    [
        (
            "",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            "model name is scaler",
        ),
        (
            "torch",
            "Illegal to change a model's platform. For model scaler platform was tensorflow and new platform "
            "requested is torch",
        ),
    ],
)
def test_another_platform_is_refused(ask, base, platform, message):
    assert ask.reload_error({**keep(base, 1), "model_platform": platform}) == ("INVALID_ARGUMENT", message)


def test_a_request_without_a_list_is_refused(ask):
    with pytest.raises(grpc.RpcError, match="Only ModelConfigList is currently supported") as caught:
        ask.model.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_new_model_is_available_when_the_reload_comes_back(ask, base, tmp_path, make_version):
    (tmp_path / "other").mkdir()
    make_version(tmp_path / "other" / "4", 4.0)
    ask.reload(keep(base, 1, 2), {"name": "other", "base_path": str(tmp_path / "other")})
    assert ask.states("other") == {4: GOOD}
    assert ask.scale(3, name="other") == [12]
    assert ask.scale(3) == [6]


def test_a_new_model_that_fails_to_load_fails_the_reload(serve, base, tmp_path, make_version, client):
    make_version(base / "1")
    (tmp_path / "other").mkdir()
    make_version(tmp_path / "other" / "4", without="saved_model.pb")
    ask = client(serve(model_base_path=base, max_num_load_retries=0))
    code, message = ask.reload_error({"base_path": str(base)}, {"name": "other", "base_path": str(tmp_path / "other")})
    assert code == "UNKNOWN"
    assert message.startswith(
        "1 model(s) did not become available: {{{name: other version: 4} due to error: NOT_FOUND: S"
    )
    assert ask.scale(3) == [3]


def test_the_latest_policy_serves_as_many_as_it_says(ask, base, make_version):
    make_version(base / "3", 3.0)
    ask.wait_for({1: GOOD, 2: GOOD, 3: GOOD})
    ask.reload({"base_path": str(base), "model_version_policy": {"latest": {"num_versions": 2}}})
    ask.wait_for({1: END, 2: GOOD, 3: GOOD})
    assert ask.scale(3, version=2) == [6]
    assert ask.error({"x": [1.0]}, "scale", version=1)[0] == "NOT_FOUND"


def test_the_newest_version_is_listed_first(ask):
    assert list(ask.statuses()) == [2, 1]


def test_the_status_of_one_version_can_be_asked_for(ask):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "scaler"
    request.model_spec.version.value = 2
    assert [entry.version for entry in ask.model.GetModelStatus(request, timeout=20).model_version_status] == [2]
    request.model_spec.version.value = 7
    with pytest.raises(grpc.RpcError, match="Could not find version 7 of model scaler"):
        ask.model.GetModelStatus(request, timeout=20)


def _config_with_label(base, version, label="stable"):
    return (
        f'model_config_list {{ config {{ name: "scaler" base_path: "{base}" model_platform: "tensorflow" '
        f'version_labels {{ key: "{label}" value: {version} }} model_version_policy {{ all {{}} }} }} }}'
    )


def test_labels_at_the_start_end_the_server_unless_the_flag_allows_them(serve, launch, base, make_version, client):
    make_version(base / "1", 1.0)
    config = base.parent / "models.config"
    config.write_text(_config_with_label(base, 1))
    server = launch(model_config_file=config)
    assert server.process.wait(timeout=60) != 0
    message = "Request to assign label to version 1 of model scaler, which is not currently available"
    assert message in server.log.read_text()
    ask = client(serve(model_config_file=config, allow_version_labels_for_unavailable_models=True))
    assert ask.scale(3, label="stable") == [3]


def test_a_polled_config_file_undoes_what_a_reload_changed(serve, base, make_version, client):
    make_version(base / "1", 1.0)
    make_version(base / "2", 2.0)
    config = base.parent / "models.config"
    config.write_text(_config_with_label(base, 1))
    flags = {"allow_version_labels_for_unavailable_models": True, "model_config_file_poll_wait_seconds": 1}
    ask = client(serve(model_config_file=config, **flags))
    ask.wait_for({1: GOOD, 2: GOOD})
    ask.reload(keep(base, 1, 2))
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            assert ask.scale(3, label="stable") == [3]
            break
        except grpc.RpcError:
            time.sleep(0.1)
    else:
        pytest.fail("the label did not come back")
    config.write_text(_config_with_label(base, 2, "beta"))
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            assert ask.scale(3, label="beta") == [6]
            return
        except grpc.RpcError:
            time.sleep(0.1)
    pytest.fail("the new label did not come")


def test_one_missing_base_path_holds_up_the_versions_of_all_models(ask, base, tmp_path, make_version):
    gone = tmp_path / "gone"
    gone.mkdir()
    make_version(gone / "1")
    ask.reload(keep(base, 1, 2, 3), {"name": "gone", "base_path": str(gone)})
    shutil.rmtree(gone)
    time.sleep(1.5)
    make_version(base / "3", 3.0)
    time.sleep(2.5)
    assert ask.states() == {1: GOOD, 2: GOOD}
    gone.mkdir()
    ask.wait_for({1: GOOD, 2: GOOD, 3: GOOD})
