"""Which children of a base path are versions, and which of those a policy asks for."""

import pytest
from tensorflow_serving.config import model_server_config_pb2

from server.errors import ServingError
from server.models.storage import find_versions


def model(base, **policy):
    config = model_server_config_pb2.ModelConfig(name="m", base_path=str(base))
    for choice, fields in policy.items():
        getattr(config.model_version_policy, choice).SetInParent()
        for key, value in fields.items():
            target = getattr(config.model_version_policy, choice)
            getattr(target, key).extend(value) if isinstance(value, list) else setattr(target, key, value)
    return config


@pytest.fixture
def base(tmp_path):
    for name in ("1", "2", "10", "007", "-3", "1.5", "v4", ".staging-11", "12 old", "99999999999999999999"):
        (tmp_path / name).mkdir()
    (tmp_path / "README").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, [10]),
        ({"latest": {}}, [10]),
        ({"latest": {"num_versions": 3}}, [2, 7, 10]),
        ({"all": {}}, [-3, 1, 2, 7, 10]),
        ({"specific": {"versions": [2, 7, 55]}}, [2, 7]),
    ],
)
def test_a_policy_asks_for_its_versions_among_the_integers(base, policy, expected):
    found = find_versions(model(base, **policy))
    assert sorted(found) == expected
    assert all(int(path.name) == version for version, path in found.items())


def test_a_missing_base_path_is_named(tmp_path):
    with pytest.raises(ServingError, match=r"Could not find base path .*absent for servable m"):
        find_versions(model(tmp_path / "absent"))
