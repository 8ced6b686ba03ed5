"""What several folders of tests need. TensorFlow is imported by the fixtures that use it, never here."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SAMPLES = Path(__file__).parents[1] / "exporter" / "presets" / "digits" / "samples"


@pytest.fixture(scope="session")
def digits_output(tmp_path_factory):
    """An output directory with version 1 of the preset digits, exported with k = 2."""
    pytest.importorskip("tensorflow", reason="exporting needs TensorFlow")
    from exporter import export, load_classifier

    output = tmp_path_factory.mktemp("models")
    export(load_classifier("digits"), output, k=2)
    return output


@pytest.fixture(scope="session")
def digits_version(digits_output):
    """The directory of that version."""
    return digits_output / "digits" / "1"


@pytest.fixture(scope="session")
def sample_images():
    """The 32 images that the preset digits ships."""
    return sorted(SAMPLES.glob("*.png"))
