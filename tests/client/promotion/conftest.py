"""What the tests of promotions need: a models.config and two servers that were started with it."""

import pytest

from client.cli.commands import run

CONFIG = """# Served by three replicas.
model_config_list {
  config {
    name: "other"
    base_path: "/models/other"
    version_labels { key: "stable" value: 1 }
  }
  config: {
    name: 'letters'   # the one that matters
    base_path: "BASE"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: [1, 2] } }
    version_labels {
      key: "stable"  # what users ask for
      value: 1
    }
    version_labels < key: "canary", value: 2 >
  }
}
"""


@pytest.fixture
def config_text():
    """A models.config as people write it."""
    return CONFIG


@pytest.fixture
def replicas(fake, tmp_path):
    """Two servers with versions 1 and 2, and the file that they were started with."""
    base = tmp_path / "letters"
    models = []
    for number, seed in ((1, 0), (2, 1)):
        model = fake.Model(seed)
        model.version = number
        fake.publish(model, base)
        models.append(model)
    config = tmp_path / "models.config"
    config.write_text(CONFIG.replace("BASE", str(base)))
    servers = []
    for _ in range(2):
        server = fake.Server(models[0])
        server.models = {model.version: model for model in models}
        server.labels = {"stable": 1, "canary": 2}
        server.others = {"other": {"stable": 1}}
        servers.append(server)
    yield servers, config
    for server in servers:
        server.stop()


@pytest.fixture
def one_refuses(replicas, fake):
    """The second server does not take version 2 as stable."""
    server = replicas[0][1]
    right = server.reload

    def reload(data):
        if b"stable\x10\x02" in data:
            raise fake.Error(fake.INTERNAL, "no room")
        return right(data)

    server.reload = reload


@pytest.fixture
def command(replicas, capfd):
    servers, config = replicas

    def call(*arguments, model="letters"):
        addresses = ",".join(server.address for server in servers)
        status = run(["--address", addresses, "--model", model, "--timeout", "3", *arguments, "--config", str(config)])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    return call
