"""Versions of two models, exported once for all pages."""

import shutil

import pytest

from .readers import WORDS, text_model


@pytest.fixture(scope="session")
def published(digits_output, tmp_path_factory):
    """An output directory with version 1 of digits and of topics, without the server's files."""
    import numpy as np

    from exporter import Samples, export, load_classifier

    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(digits_output / "digits" / "1", folder / "models" / "digits" / "1")
    text_model(folder / "topics.keras", 5)
    samples = Samples({"text": np.array(["the wheel came off", "a good day", *WORDS], object)})
    export(load_classifier(folder / "topics.keras"), folder / "models", k=2, samples=samples)
    return folder / "models"
