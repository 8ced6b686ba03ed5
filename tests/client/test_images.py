import io

import numpy as np
import pytest
from PIL import Image

from client import InputError, ServingClient
from client.rpc.metadata import Metadata, Signature, TensorInfo
from client.samples import Sample, read_samples
from client.samples.images import decoded_image, image_sample, pixels_of, png, with_file
from signatures.contract import names
from signatures.contract.pixels import preprocessed, unprocessed

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)


@pytest.fixture
def save(tmp_path):
    def write(image, name="image.png", **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def pixels(path, height, width, channels):
    return decoded_image(path.read_bytes(), path.name, height, width, channels)


def test_an_image_of_the_right_size_comes_pixel_by_pixel(save):
    path = save(Image.fromarray(PIXELS))
    np.testing.assert_array_equal(pixels(path, 6, 5, 3), PIXELS)
    np.testing.assert_array_equal(pixels(path, -1, -1, 3), PIXELS)
    gray = pixels(path, 6, 5, 1)
    np.testing.assert_array_equal(gray[..., 0], np.asarray(Image.fromarray(PIXELS).convert("L")))


def test_another_size_is_resized(save):
    assert pixels(save(Image.fromarray(PIXELS)), 12, 7, 3).shape == (12, 7, 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_every_mode_of_eight_bits_is_taken(save, mode):
    path = save(Image.fromarray(PIXELS).convert(mode), "image.tiff")
    for channels in (1, 3):
        assert pixels(path, 6, 5, channels).shape == (6, 5, channels)


def test_what_is_no_eight_bit_image_is_refused(save, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(png(PIXELS)[:60])
    with pytest.raises(InputError, match="more than 8 bits"):
        pixels(save(Image.fromarray(PIXELS[..., 0].astype(np.uint16))), 6, 5, 1)
    for path in (text, truncated):
        with pytest.raises(InputError, match=path.name):
            pixels(path, 6, 5, 1)
    with pytest.raises(InputError, match="4 channels"):
        pixels(text, 6, 5, 4)


@pytest.mark.parametrize("name", names.PREPROCESSINGS)
def test_preprocessing_can_be_undone(name):
    values = preprocessed(PIXELS, name)
    assert values.dtype == np.float32
    np.testing.assert_allclose(unprocessed(values, name), PIXELS, atol=1e-3)


def test_preprocessing_is_that_of_its_name():
    white = np.full((1, 1, 3), 255, np.uint8)
    red = np.array([[[255, 0, 0]]], np.uint8)
    assert preprocessed(white, "none").tolist() == [[[255, 255, 255]]]
    assert preprocessed(white, "unit").tolist() == [[[1, 1, 1]]]
    assert preprocessed(np.zeros_like(white), "tf").tolist() == [[[-1, -1, -1]]]
    np.testing.assert_allclose(preprocessed(red, "caffe")[0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-6)
    np.testing.assert_allclose(preprocessed(white, "torch")[0, 0], [2.2489083, 2.4285715, 2.64], rtol=1e-6)


@pytest.mark.parametrize("name", names.PREPROCESSINGS)
def test_preprocessing_is_that_of_keras_and_of_the_signatures(name):
    tf = pytest.importorskip("tensorflow", reason="compares with TensorFlow, which is not installed")
    from signatures.preprocessing import preprocess

    theirs = preprocess(tf.constant(PIXELS[np.newaxis], tf.float32), name)
    np.testing.assert_allclose(preprocessed(PIXELS, name), np.asarray(theirs)[0], rtol=1e-6, atol=1e-5)


def test_unknown_preprocessing_is_refused():
    for channels, name, said in (
        (3, None, "export again with --preprocessing"),
        (3, "magic", r"a\.png does not fit the model: the preprocessing 'magic' is not known"),
        (1, "caffe", r"a\.png does not fit the model: .* needs 3 channels"),
    ):
        inputs = {names.IMAGES: TensorInfo("float32", (-1, 6, 5, channels))}
        signature = Signature(names.SERVING_DEFAULT, "predict", inputs, {})
        with pytest.raises(InputError, match=said):
            image_sample(png(PIXELS), "a.png", Metadata("m", 1, {signature.key: signature}), name)


@pytest.mark.parametrize("name", names.PREPROCESSINGS)
def test_the_file_of_a_sample_holds_the_pixels_it_was_made_of(name):
    sample = with_file(Sample({"images": preprocessed(PIXELS, name)[np.newaxis]}), name)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(sample.file))), PIXELS)


def test_a_sample_that_was_not_made_of_pixels_gets_no_file():
    noise = np.random.default_rng(0).normal(0, 1, (1, 6, 5, 3)).astype(np.float32)
    for sample in (Sample({"images": noise}), Sample({"words": np.zeros((1, 6))}), Sample({"a": noise, "b": noise})):
        assert pixels_of(sample, "unit") is None
        assert with_file(sample, "unit").file is None
    assert pixels_of(Sample({"images": preprocessed(PIXELS, "unit")[np.newaxis]}), None) is None


def test_samples_of_files_fit_the_model_and_keep_jpeg_and_png(server, save):
    gray = Image.fromarray(PIXELS[..., 0])
    paths = [save(gray), save(gray, "image.jpg"), save(gray, "image.bmp")]
    with ServingClient(server.address, "letters") as client:
        samples = read_samples(paths, client.metadata(), "unit")
    assert {sample.inputs[names.IMAGES].shape for sample in samples} == {(1, 4, 4, 1)}
    assert [sample.file is not None for sample in samples] == [True, True, False]
    assert all(sample.dense is None for sample in samples)


def test_a_model_of_something_else_takes_no_images(server, model, save):
    declared = model.declared()
    declared[names.SERVING_DEFAULT]["inputs"][names.IMAGES]["shape"] = [-1, 16]
    model.declared = lambda: declared
    with ServingClient(server.address, "letters") as client, pytest.raises(InputError, match="does not take images"):
        read_samples([save(Image.fromarray(PIXELS))], client.metadata(), "unit")
