"""Picture files against the pixels that they stand for, in every export that takes files."""

import io
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import signatures.compose
import signatures.input_forms
from exporter import (
    Classifier,
    ExportError,
    ExportOptions,
    Samples,
    SourceOptions,
    ValidationError,
    export,
    load_classifier,
)
from exporter.samples.samples import samples_of_images
from exporter.sources.examine import examine
from exporter.validation.loaded import LoadedVersion
from exporter.validation.pixels import wrong_pixels
from signatures import ImageDecoding
from signatures.contract import names
from signatures.input_forms import decoder, preprocess

LABELS = 4
SIDE = 8


def picture_model(dtype="float32", channels=3):
    keras.utils.set_random_seed(1)
    images = keras.Input((SIDE, SIDE, channels), dtype=dtype, name="images")
    x = keras.layers.Rescaling(1 / 255)(images) if dtype != "float32" else images
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
    return keras.Model(images, keras.layers.Dense(LABELS, activation="sigmoid")(x))


def picture(mode="RGB", size=(SIDE, SIDE), kind="PNG", seed=0):
    """A smooth picture's file."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    waves = [127 + 120 * np.sin(seed + channel + rows / 5 + columns / (7 + channel)) for channel in range(4)]
    pixels = np.stack(waves, axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    made = Image.fromarray(pixels[..., :3])
    if mode == "I;16":
        made = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode in ("RGBA", "CMYK"):
        made = Image.fromarray(pixels, mode="RGBA").convert(mode) if mode == "RGBA" else made.convert(mode)
    else:
        made = made.convert(mode)
    made.save(stream, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return stream.getvalue()


@cache
def graphs_decoder(preprocessing, dtype, channels):
    return decoder(tf.TensorSpec([None, SIDE, SIDE, channels], dtype), ImageDecoding(preprocessing))


def decoded(file, preprocessing, dtype="float32", channels=3):
    return graphs_decoder(preprocessing, dtype, channels)(tf.constant([file])).numpy()[0]


def refused(output, **given):
    samples = given.pop("samples", None)
    with pytest.raises((ExportError, ValidationError)) as caught:
        export(Classifier(picture_model(given.pop("dtype", "float32")), "toy", **given), output, k=2, samples=samples)
    assert list(output.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("preprocessing", ["unit", "tf", "caffe", "torch"])
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_pixels_that_were_cut_to_whole_numbers_after_scaling_were_published(preprocessing, dtype, tmp_path):
    said = refused(tmp_path, preprocessing=preprocessing, dtype=dtype)
    assert f"preprocessing {preprocessing!r} scales pixels to fractions, which the model's {dtype} input" in said


def test_pixels_that_the_models_type_cannot_hold_are_refused(tmp_path):
    assert "int8 input cannot hold pixels from 0 to 255" in refused(tmp_path, preprocessing="none", dtype="int8")


def test_resized_pixels_are_rounded_for_a_model_of_whole_numbers(tmp_path):
    file = picture(size=(21, 13))
    whole, exact = decoded(file, "none", "uint8"), decoded(file, "none")
    np.testing.assert_array_equal(whole, np.rint(exact))
    assert wrong_pixels(file, whole, "none") == ""
    version = export(Classifier(picture_model("uint8"), "toy", preprocessing="none"), tmp_path, k=2)
    assert names.ENCODED_IMAGES in [signature.key for signature in version.signatures]


KINDS = [
    ("RGB", "PNG", 3),
    ("L", "PNG", 3),
    ("P", "PNG", 3),
    ("RGBA", "PNG", 3),
    ("I;16", "PNG", 1),
    ("I;16", "PNG", 3),
    ("RGB", "PNG", 1),
    ("RGB", "JPEG", 3),
    ("L", "JPEG", 1),
    ("CMYK", "JPEG", 3),
]


@pytest.mark.parametrize("preprocessing", ["none", "unit", "tf", "caffe", "torch"])
@pytest.mark.parametrize("size", [(SIDE, SIDE), (40, 30), (5, 6)], ids=str)
def test_the_graphs_pixels_are_pillows_for_every_kind_of_picture(size, preprocessing):
    for mode, kind, channels in KINDS:
        if channels == 3 or preprocessing not in ("caffe", "torch"):
            file = picture(mode, size, kind)
            assert wrong_pixels(file, decoded(file, preprocessing, channels=channels), preprocessing) == "", (
                mode,
                kind,
            )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_graphs_pixels_are_pillows_as_far_as_a_type_can_tell(dtype):
    for preprocessing in ("none", "unit", "tf", "caffe", "torch"):
        assert wrong_pixels(picture(), decoded(picture(), preprocessing, dtype), preprocessing) == ""


@pytest.mark.parametrize("size", [(SIDE, SIDE), (40, 30)], ids=str)
@pytest.mark.parametrize("given", ["none", "unit", "tf", "caffe", "torch"])
def test_every_other_preprocessing_than_the_one_named_is_seen(given, size):
    for other in {"none", "unit", "tf", "caffe", "torch"} - {given}:
        file = picture(size=size)
        assert "differ from Pillow's" in wrong_pixels(file, decoded(file, other), given), other


WRONG = {
    "fractions are cut off": lambda pixels, mode: tf.floor(preprocess(pixels, mode)),
    "nothing is scaled": lambda pixels, mode: pixels,
    "blue comes first": lambda pixels, mode: preprocess(pixels, mode)[..., ::-1],
}


@pytest.mark.parametrize(
    ("wrong", "source"),
    [("fractions are cut off", "made up"), ("nothing is scaled", "files"), ("blue comes first", "files")],
)
def test_a_wrong_preprocessing_in_samples_and_graph_alike_was_published(wrong, source, tmp_path, monkeypatch):
    monkeypatch.setattr(signatures.input_forms, "preprocess", WRONG[wrong])
    samples = Samples({})
    if source == "files":
        inputs = Classifier(picture_model(), "toy").inputs
        samples = samples_of_images([picture(size=(30, 20), kind="JPEG")], inputs, ImageDecoding("unit"))
    said = refused(tmp_path, preprocessing="unit", samples=samples)
    assert said.startswith("The pixels that the graph makes of the image of sample 0, with the preprocessing 'unit'")


def test_a_wrong_preprocessing_in_the_graph_alone_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(signatures.compose, "decoder", lambda images, pictures: decoder(images, ImageDecoding("tf")))
    assert "encoded_images with k = 4, min_score 0 is wrong for sample 0" in refused(tmp_path, preprocessing="unit")


@pytest.mark.parametrize("keys", [[names.ENCODED_IMAGES_TOP_K], [names.CLASSIFY]], ids=str)
def test_it_is_seen_whichever_signature_takes_the_files(keys, tmp_path, monkeypatch):
    monkeypatch.setattr(signatures.compose, "decoder", lambda images, pictures: decoder(images, ImageDecoding("tf")))
    classifier = Classifier(picture_model(), "toy", preprocessing="unit")
    with pytest.raises(ValidationError, match=f"{keys[0]} with k = 4, min_score 0 is wrong for sample 0"):
        export(classifier, tmp_path, k=2, options=ExportOptions(signatures=keys))


def test_a_picture_model_with_arrays_for_samples_was_a_traceback(tmp_path):
    images = np.random.default_rng(0).normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)
    truth = np.eye(3, LABELS, dtype=bool)
    samples = Samples({"images": images}, truth=truth)

    version = export(Classifier(picture_model(), "toy", preprocessing="unit"), tmp_path, k=2, samples=samples)

    assert version.quality.samples == 3
    with LoadedVersion(version.path) as loaded:
        assert {names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K, names.CLASSIFY} <= set(loaded.signatures)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is neither a JPEG nor a PNG; its first bytes:"),
        (b"GIF89a", "is neither a JPEG nor a PNG; its first bytes: 47 49 46 38 39 61"),
        (picture()[:-40], "cannot be decoded: "),
        (picture(kind="JPEG")[:200], "cannot be decoded: "),
        (None, "could not be read: Is a directory"),
    ],
    ids=["empty", "a GIF", "a PNG cut short", "a JPEG cut short", "a directory"],
)
def test_a_sample_that_is_no_picture_was_not_named(content, words, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    broken = tmp_path / "b.png"
    broken.mkdir() if content is None else broken.write_bytes(content)
    with pytest.raises(ExportError, match=str(broken)) as said:
        examine(load_classifier("digits", SourceOptions(samples=tmp_path)))
    assert words in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(("channels", "preprocessing"), [(4, "none"), (2, "unit"), (1, "torch")])
def test_a_model_that_no_picture_file_fits_was_a_traceback(channels, preprocessing):
    with pytest.raises(ExportError, match="channels"):
        examine(Classifier(picture_model(channels=channels), "toy", preprocessing=preprocessing))
