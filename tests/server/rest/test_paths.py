"""Which path asks for what, and what is no path of the API."""

import pytest

ERROR_PAGE = "<HTML><HEAD>\n<TITLE>{0} {1}</TITLE>\n</HEAD><BODY>\n<H1>{1}</H1>\n</BODY></HTML>\n"
AVAILABLE = {
    "model_version_status": [
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/scaler",
        "/v1/models/scaler/versions/1",
        "/v1/models/scaler/versions/0001",
        "/v1/models/scaler/labels/anything",
        "/V1/MODELS/scaler",
        "/v1/models/%73caler",
        "/v1/models/scaler/METADATA",
        "http://somewhere/v1/models/scaler",
    ],
)
def test_paths_of_the_status(rest, path):
    found = rest("GET", path)
    assert (found.status, found.content_type, found.json) == (200, "application/json", AVAILABLE)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/metadata", 404, "Could not find any versions of model metadata"),
        ("GET", "/v1/models/scaler?x=1", 404, "Could not find any versions of model scaler?x=1"),
        ("GET", "/v1/models/%00", 404, "Could not find any versions of model \0"),
        ("GET", "/v1/models/%FF", 404, "Could not find any versions of model \N{REPLACEMENT CHARACTER}"),
        ("GET", "/v1/models/scaler/versions/7", 404, "Could not find version 7 of model scaler"),
        ("GET", "/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"),
        ("GET", "/v1/", 400, "Malformed request: GET /v1/"),
        ("GET", "/v1/models/", 400, "Malformed request: GET /v1/models/"),
        ("GET", "/v1/models/scaler:predict", 400, "Malformed request: GET /v1/models/scaler:predict"),
        ("GET", "/v1/models/scaler/versions/x", 400, "Malformed request: GET /v1/models/scaler/versions/x"),
        ("POST", "/v1/models/scaler:predict?x", 400, "Malformed request: POST /v1/models/scaler:predict?x"),
        ("POST", "/v1/models/scaler:PREDICT", 400, "Malformed request: POST /v1/models/scaler:PREDICT"),
        ("POST", "/v1/models/:predict", 400, "Malformed request: POST /v1/models/:predict"),
        ("PUT", "/v1/models/scaler", 400, "Malformed request: PUT /v1/models/scaler"),
        ("OPTIONS", "/v1/models/scaler", 400, "Malformed request: OPTIONS /v1/models/scaler"),
        ("PATCH", "/v1/models/scaler", 400, "Malformed request: PATCH /v1/models/scaler"),
    ],
)
def test_what_no_path_asks_for_is_an_error_in_json(rest, method, path, status, message):
    found = rest(method, path)
    assert (found.status, found.content_type, found.json) == (status, "application/json", {"error": message})


@pytest.mark.parametrize(
    ("method", "path", "status", "phrase"),
    [
        ("GET", "/", 404, "Not Found"),
        ("GET", "/v1", 404, "Not Found"),
        ("POST", "/v2/models/scaler:predict", 404, "Not Found"),
        ("GET", "/monitoring/prometheus/metrics", 404, "Not Found"),
        ("GET", "/v1/models/sca%zz", 400, "Bad Request"),
        ("GET", "/v1/models/{scaler}", 400, "Bad Request"),
        ("TRACE", "/v1/models/scaler", 501, "Not Implemented"),
        ("BREW", "/v1/models/scaler", 501, "Not Implemented"),
    ],
)
def test_a_path_outside_the_api_gets_a_page(rest, method, path, status, phrase):
    found = rest(method, path)
    assert (found.status, found.content_type) == (status, "text/html")
    assert found.body.decode() == ERROR_PAGE.format(status, phrase)


def test_a_head_request_has_no_body(rest):
    assert rest("HEAD", "/v1/models/scaler") == (400, "application/json", b"")


def test_a_version_that_is_not_an_int64_is_refused_without_a_message(rest):
    assert rest("GET", f"/v1/models/scaler/versions/{1 << 63}") == (400, "application/json", b"")


def test_metadata_shows_the_signatures_with_their_defaults(rest):
    found = rest("GET", "/v1/models/scaler/versions/1/metadata").json
    assert found["model_spec"] == {"name": "scaler", "signature_name": "", "version": "1"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["defaults"]["k"]["int_val"] == [0]
    assert signatures["scale"]["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [], "unknown_rank": True},
        "name": "scale_x:0",
    }


def test_a_failed_version_shows_its_error(serve_rest, make_version, base):
    make_version(base / "1", 1.0)
    make_version(base / "2", without="saved_model.pb")
    config = base.parent / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "scaler" base_path: "{base}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    _, rest = serve_rest(model_config_file=config, max_num_load_retries=0)
    for _ in range(600):
        newest = rest("GET", "/v1/models/scaler").json["model_version_status"][0]
        if newest["state"] == "END":
            break
    assert newest["version"] == "2"
    assert newest["status"]["error_code"] == "NOT_FOUND"
    assert newest["status"]["error_message"].startswith("Specified file path does not appear to contain a SavedModel")
