"""The blocks that the tests cannot run, each with the reason. Their options are checked all the same."""

INDEX = "installs TensorFlow from the package index"
MAKE = "sets up a virtual environment; CI runs make test, tests/examples the demo, tests/benchmarks each part"
ENGINE = "needs a container engine"
CLUSTER = "needs a cluster"

NOT_RUN = {
    ("README.md", "pip install '.[export]'"): INDEX,
    ("README.md", "make demo    # exports, serves, classifies images over gRPC, checks"): MAKE,
    (
        "CONTRIBUTING.md",
        "make test    # sets up .venv, then ruff, mypy, import-linter, codespell, proselint and pytest",
    ): MAKE,
    (
        "CONTRIBUTING.md",
        ".venv/bin/python -m pytest -x tests/client            # one folder",
    ): "runs the tests, from inside a test",
    (
        "docs/client.md",
        "serving-client --address localhost:8500 --model digits bench --concurrency 16 \\",
    ): "its status depends on how busy the machine is; tests/client/test_bench.py runs it",
    ("docs/deploying.md", "docker compose --file models/deploy/compose.yaml up"): ENGINE,
    ("docs/deploying.md", "kubectl apply --filename models/deploy/kubernetes.yaml"): CLUSTER,
    ("docs/deploying.md", "kubectl apply --filename models/deploy/kserve.yaml"): CLUSTER,
    (
        "docs/deploying.md",
        "model_signing sign key --private_key key.pem --signature models/digits/2.sig models/digits/2",
    ): "needs model_signing, which is not among our tools",
    ("docs/exporting.md", "export-model my_model.keras --validate-on docker"): ENGINE,
    (
        "docs/qualifying.md",
        "serving-client --address gpu-host:8500 --model digits qualify --golden models/digits/1 --p99 50",
    ): "takes ten minutes, and its status depends on how busy the machine is; tests/client/qualify runs it",
    (
        "docs/qualifying.md",
        "serving-client --address gpu-host:8500 --model digits check --golden models/digits/1 "
        "--tolerances qualification.json",
    ): "reads what qualify writes; tests/client/qualify runs it",
    (
        "docs/stand-in-server.md",
        "MODEL_SERVER=/usr/bin/tensorflow_model_server python -m pytest tests/server tests/test_end_to_end.py",
    ): "needs a real server",
    ("docs/stand-in-server.md", "#!/bin/sh"): ENGINE,
    (
        "docs/testing.md",
        "bash tests/mutate.sh signatures/contract/judge.py tests/signatures/test_judge_verdicts.py",
    ): "takes an hour",
    ("docs/tutorial.md", "pip install '.[export]' scikit-learn"): INDEX,
}
