import io
import resource
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
from PIL import Image, PngImagePlugin

from signatures.image_decoding import decode_images

HEIGHT, WIDTH = 37, 45
MAX_PIXELS = 64_000_000
AT_ONCE = 2
PHOTOS = Path(sklearn.datasets.__file__).parent / "images"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS_OF_COLOR_TYPE = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Where each pass of Adam7 begins, and its steps: x, y, x step, y step.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Decoder = Callable[[list[bytes]], np.ndarray]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int, int, int], Decoder]]:
    """Decoders of a wanted size, each in a SavedModel that is loaded as a server loads it."""
    with ExitStack() as open_sessions:

        @cache
        def make(height: int, width: int, channels: int) -> Decoder:
            module = tf.Module()
            module.decode = tf.function(
                lambda encoded: {"pixels": decode_images(encoded, height, width, channels, MAX_PIXELS, AT_ONCE)},
                input_signature=[tf.TensorSpec(None, tf.string, name="encoded")],
                autograph=False,
            )
            directory = str(tmp_path_factory.mktemp("saved_model"))
            tf.saved_model.save(module, directory, signatures={"decode": module.decode})
            graph = tf.Graph()
            session = tf.compat.v1.Session(graph=graph)
            open_sessions.callback(session.close)
            with graph.as_default():
                loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], directory)
            signature = loaded.signature_def["decode"]
            fetch, feed = signature.outputs["pixels"].name, signature.inputs["encoded"].name
            return lambda files: session.run(fetch, {feed: np.array(files, object)})

        yield make


def colors(height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> np.ndarray:
    """Slopes with noise on them: neither flat nor too hard for JPEG."""
    slope = np.add.outer(3 * np.arange(height), 2 * np.arange(width))[:, :, None]
    noise = np.random.default_rng(0).integers(0, 90, (height, width, channels))
    return ((slope + noise) % 256).astype(np.uint8)


def written(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(colors()).convert(mode)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width: int, height: int, depth: int = 8, color_type: int = 2, interlaced: bool = False) -> bytes:
    return PNG_SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlaced))


def png(samples: np.ndarray, depth: int, color_type: int, interlaced: bool = False, chunks: bytes = b"") -> bytes:
    """Write the kinds of PNG that Pillow does not write."""

    def rows(part: np.ndarray) -> bytes:
        if depth >= 8:
            lines = [row.astype(f">u{depth // 8}").tobytes() for row in part]
        else:
            bits = np.arange(depth - 1, -1, -1)
            lines = [np.packbits(row.reshape(-1, 1) >> bits & 1).tobytes() for row in part]
        return b"".join(b"\0" + line for line in lines)

    height, width, _ = samples.shape
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    data = zlib.compress(b"".join(rows(part) for part in passes))
    header = png_header(width, height, depth, color_type, interlaced)
    return header + chunks + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_jpeg_size(jpeg: bytes, width: int, height: int) -> bytes:
    start = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) + 5
    return jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 :]


def as_pillow(file: bytes, channels: int, size: tuple[int, int] | None = None) -> np.ndarray:
    image = Image.open(io.BytesIO(file)).convert("RGB" if channels == 3 else "L")
    if size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32).reshape(image.height, image.width, channels)


def refusal(decode: Decoder, files: list[bytes]) -> str:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        decode(files)
    return str(caught.value)


def transparent_palette() -> bytes:
    return written(picture().quantize(16), "PNG", transparency=3)


def animated_png() -> bytes:
    frames = [Image.fromarray(np.roll(colors(), shift, axis=0)) for shift in range(3)]
    return written(frames[0], "PNG", save_all=True, append_images=frames[1:])


WRITTEN_BY_PILLOW = {
    "jpeg 4:4:4": lambda: written(picture(), "JPEG", subsampling=0),
    "jpeg 4:2:2": lambda: written(picture(), "JPEG", subsampling=1),
    "jpeg 4:2:0": lambda: written(picture(), "JPEG", subsampling=2),
    "jpeg progressive": lambda: written(picture(), "JPEG", progressive=True),
    "jpeg stored as RGB": lambda: written(picture(), "JPEG", keep_rgb=True),
    "jpeg gray": lambda: written(picture("L"), "JPEG"),
    "jpeg CMYK without black": lambda: written(picture("CMYK"), "JPEG"),
    "png RGB": lambda: written(picture(), "PNG"),
    "png RGBA": lambda: written(Image.fromarray(colors(channels=4)), "PNG"),
    "png gray": lambda: written(picture("L"), "PNG"),
    "png black and white": lambda: written(picture("1"), "PNG"),
    "png gray and alpha": lambda: written(picture("LA"), "PNG"),
    "png palette": lambda: written(picture().quantize(200), "PNG"),
    "png transparent palette": transparent_palette,
    "png animated": animated_png,
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", WRITTEN_BY_PILLOW)
def test_a_picture_of_the_size_wanted_equals_pillows(decoder: Any, kind: str, channels: int) -> None:
    file = WRITTEN_BY_PILLOW[kind]()
    np.testing.assert_array_equal(decoder(HEIGHT, WIDTH, channels)([file])[0], as_pillow(file, channels))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interlaced", [False, True], ids=["plain", "interlaced"])
@pytest.mark.parametrize(
    ("color_type", "depth"),
    [(0, 1), (0, 2), (0, 4), (0, 8), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)],
)
def test_every_kind_of_png_but_one_equals_pillows(
    decoder: Any, color_type: int, depth: int, interlaced: bool, channels: int
) -> None:
    random = np.random.default_rng(depth)
    samples = random.integers(0, 2**depth, (HEIGHT, WIDTH, CHANNELS_OF_COLOR_TYPE[color_type]))
    chunks = chunk(b"gAMA", struct.pack(">I", 100_000))
    if color_type == 3:
        chunks += chunk(b"PLTE", random.bytes(3 * 2**depth))
    elif color_type in (0, 2):
        chunks += chunk(b"tRNS", samples[0, 0].astype(">u2").tobytes())
    file = png(samples, depth, color_type, interlaced, chunks)
    np.testing.assert_array_equal(decoder(HEIGHT, WIDTH, channels)([file])[0], as_pillow(file, channels))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gray_png_of_16_bits_keeps_its_high_bytes(decoder: Any, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 2**16, (HEIGHT, WIDTH, 1))
    expected = np.repeat(samples >> 8, channels, axis=-1)
    np.testing.assert_array_equal(decoder(HEIGHT, WIDTH, channels)([png(samples, 16, 0)])[0], expected)


@pytest.mark.parametrize("kind", ["CMYK", "YCCK", "without Adobe's marker"])
def test_jpegs_with_black_ink_are_at_most_one_darker_than_pillows(decoder: Any, kind: str) -> None:
    file = written(Image.fromarray(colors(channels=4), "CMYK"), "JPEG", quality=95)
    name = file.index(b"Adobe")
    if kind == "YCCK":
        file = file[: name + 11] + b"\2" + file[name + 12 :]
    elif kind == "without Adobe's marker":
        (length,) = struct.unpack(">H", file[name - 2 : name])
        file = file[: name - 4] + file[name - 2 + length :]
    darker = as_pillow(file, 3) - decoder(HEIGHT, WIDTH, 3)([file])[0]
    assert set(np.unique(darker)) == {0, 1}
    gray_darker = as_pillow(file, 1) - decoder(HEIGHT, WIDTH, 1)([file])[0]
    assert set(np.unique(gray_darker)) == {0, 1}


def test_exif_orientation_is_not_applied(decoder: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    file = written(picture(), "JPEG", exif=exif)
    np.testing.assert_array_equal(decoder(HEIGHT, WIDTH, 3)([file])[0], as_pillow(file, 3))


@pytest.mark.parametrize("photo", ["china.jpg", "flower.jpg"])
def test_photographs_of_the_size_wanted_equal_pillows(decoder: Any, photo: str) -> None:
    file = (PHOTOS / photo).read_bytes()
    np.testing.assert_array_equal(decoder(427, 640, 3)([file])[0], as_pillow(file, 3))


@pytest.mark.parametrize(("channels", "bound"), [(3, 1.01), (1, 1.51)])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 40), (600, 900)])
def test_resized_pictures_stay_within_the_documented_bounds_of_pillows(
    decoder: Any, height: int, width: int, channels: int, bound: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    files = [(PHOTOS / name).read_bytes() for name in ("china.jpg", "flower.jpg")]
    files.append(written(Image.fromarray(noise), "PNG"))
    pixels = decoder(height, width, channels)(files)
    assert pixels.shape == (3, height, width, channels)
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    for of_file, file in zip(pixels, files, strict=True):
        assert np.abs(of_file - as_pillow(file, channels, (width, height))).max() <= bound


def test_pictures_of_several_kinds_and_sizes_share_a_batch_in_their_order(decoder: Any) -> None:
    decode = decoder(HEIGHT, WIDTH, 3)
    files = [(PHOTOS / "china.jpg").read_bytes(), transparent_palette(), WRITTEN_BY_PILLOW["jpeg gray"]()] * 4
    np.testing.assert_array_equal(decode(files), np.concatenate([decode([file]) for file in files]))


def test_an_empty_batch_gives_no_pictures(decoder: Any) -> None:
    assert decoder(HEIGHT, WIDTH, 3)([]).shape == (0, HEIGHT, WIDTH, 3)


def test_the_result_has_a_static_shape_and_takes_a_tensor_of_any() -> None:
    traced = tf.function(lambda encoded: decode_images(encoded, 8, 9, 1, MAX_PIXELS, AT_ONCE), autograph=False)
    pixels = traced.get_concrete_function(tf.TensorSpec(None, tf.string)).outputs[0]
    assert pixels.shape.as_list() == [None, 8, 9, 1]
    assert pixels.dtype == tf.float32


def test_models_of_other_channels_are_refused_when_traced() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels, but the model takes 4"):
        decode_images(tf.constant([b""]), 8, 9, 4, MAX_PIXELS, AT_ONCE)


def animated_webp() -> bytes:
    frames = [Image.fromarray(np.roll(colors(), shift, axis=0)) for shift in range(3)]
    return written(frames[0], "WEBP", save_all=True, append_images=frames[1:])


NEITHER_JPEG_NOR_PNG = {
    "empty": (lambda: b"", ""),
    "three bytes": (lambda: b"abc", "61 62 63"),
    "start of a start": (lambda: b"\xff\xd8", "ff d8"),
    "random bytes": (lambda: np.random.default_rng(0).bytes(5000), ""),
    "gif": (lambda: written(picture(), "GIF"), "47 49 46 38"),
    "bmp": (lambda: written(picture(), "BMP"), "42 4d"),
    "palette bmp": (lambda: written(picture().quantize(7), "BMP"), "42 4d"),
    "webp": (lambda: written(picture(), "WEBP"), "52 49 46 46"),
    "animated webp": (animated_webp, "52 49 46 46"),
    "tiff": (lambda: written(picture(), "TIFF"), "49 49 2a 00"),
}


@pytest.mark.parametrize("kind", NEITHER_JPEG_NOR_PNG)
def test_what_is_neither_jpeg_nor_png_is_refused_by_its_place_and_first_bytes(decoder: Any, kind: str) -> None:
    make, first_bytes = NEITHER_JPEG_NOR_PNG[kind]
    good = written(picture(), "PNG")
    message = refusal(decoder(HEIGHT, WIDTH, 3), [good, good, make(), good])
    assert f"picture 2 is neither a JPEG nor a PNG; its first bytes: {first_bytes}" in message


BROKEN = {
    "png signature alone": (lambda: written(picture(), "PNG")[:8], "picture 1 is a PNG with a header that is broken"),
    "png cut in its header": (lambda: written(picture(), "PNG")[:20], "picture 1 is a PNG with a header that is"),
    "png of no width": (lambda: png_header(0, 5) + written(picture(), "PNG")[33:], "header that is broken"),
    "png of 2**31": (lambda: png_header(2**31, 2**31) + written(picture(), "PNG")[33:], "header that is broken"),
    "png with a chunk before its header": (
        lambda: PNG_SIGNATURE + chunk(b"aaAa", struct.pack(">II5x", 5, 5)) + written(picture(), "PNG")[8:],
        "header that is broken",
    ),
    "png cut": (lambda: written(picture(), "PNG")[:-200], "Invalid PNG"),
    "png without its end": (lambda: written(picture(), "PNG")[:-12], "Invalid PNG"),
    "png of a wrong checksum": (lambda: written(picture(), "PNG").replace(b"IDAT", b"IDAU"), "Invalid PNG"),
    "jpeg start alone": (lambda: b"\xff\xd8\xff", "Invalid JPEG"),
    "jpeg cut in its header": (lambda: written(picture(), "JPEG")[:100], "Invalid JPEG"),
    "jpeg cut": (lambda: written(picture(), "JPEG")[:-200], "Invalid JPEG"),
    "jpeg of no height": (lambda: with_jpeg_size(written(picture(), "JPEG"), 5, 0), "Invalid JPEG"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_refused(decoder: Any, kind: str) -> None:
    make, sentence = BROKEN[kind]
    assert sentence in refusal(decoder(HEIGHT, WIDTH, 3), [written(picture(), "PNG"), make()])


def png_bomb(side: int) -> bytes:
    """All its pixels are there: some kilobytes that unpack to 3 * side * side bytes."""
    packer, row = zlib.compressobj(9), bytes(1 + (side + 7) // 8)
    data = b"".join([packer.compress(row) for _ in range(side)] + [packer.flush()])
    return png_header(side, side, depth=1, color_type=0) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


TOO_LARGE = {
    "png that declares much": (lambda: png_header(60_000, 60_000) + chunk(b"IDAT", b""), "60000 x 60000"),
    "png that is much": (lambda: png_bomb(23_000), "23000 x 23000"),
    "png of one row": (lambda: png_header(65_536, 1) + chunk(b"IDAT", b""), "65536 x 1"),
    "png of one column": (lambda: png_header(1, 65_536) + chunk(b"IDAT", b""), "1 x 65536"),
    "png just above": (lambda: png_header(8000, 8001) + chunk(b"IDAT", b""), "8000 x 8001"),
    "jpeg": (lambda: with_jpeg_size(written(picture(), "JPEG"), 65_000, 64_000), "65000 x 64000"),
    "progressive jpeg": (
        lambda: with_jpeg_size(written(picture(), "JPEG", progressive=True), 65_000, 64_000),
        "65000 x 64000",
    ),
}


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_pictures_too_large_are_refused_by_their_header_alone(decoder: Any, kind: str) -> None:
    make, size = TOO_LARGE[kind]
    file, decode = make(), decoder(HEIGHT, WIDTH, 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refusal(decode, [file])
    # In kilobytes; the smallest of the large ones would take 192 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert f"picture 0 is {size} pixels; send one of at most 64000000 pixels in all and 65535 a side" in message


def test_a_picture_of_just_the_most_pixels_is_decoded() -> None:
    file = tf.constant([written(picture(), "PNG")])
    assert decode_images(file, 8, 8, 3, max_pixels=HEIGHT * WIDTH, parallel_iterations=AT_ONCE).numpy().shape == (
        1,
        8,
        8,
        3,
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 1664 pixels"):
        decode_images(file, 8, 8, 3, max_pixels=HEIGHT * WIDTH - 1, parallel_iterations=AT_ONCE)


def test_a_jpeg_of_very_many_scans_is_refused(decoder: Any) -> None:
    file = with_jpeg_size(written(picture(), "JPEG", progressive=True), 8000, 8000)
    last_scan = file[file.rindex(b"\xff\xda") : -2]
    message = refusal(decoder(HEIGHT, WIDTH, 3), [file[:-2] + 60 * last_scan + file[-2:]])
    assert "picture 0 is a JPEG with 70 scans, too many for its size; save it as a baseline JPEG" in message


def test_a_png_of_very_many_packed_texts_is_refused(decoder: Any) -> None:
    file, text = written(picture(), "PNG"), chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(100_000)))
    message = refusal(decoder(HEIGHT, WIDTH, 3), [file[:33] + 17 * text + file[33:]])
    assert "picture 0 is a PNG with 17 texts, more than the 16 allowed; send it without" in message


def test_a_png_with_a_few_texts_is_decoded(decoder: Any) -> None:
    texts = PngImagePlugin.PngInfo()
    for number in range(8):
        texts.add_text(f"key {number}", "text", zip=True)
        texts.add_itxt(f"international {number}", "text")
    file = written(picture(), "PNG", pnginfo=texts)
    np.testing.assert_array_equal(decoder(HEIGHT, WIDTH, 3)([file])[0], as_pillow(file, 3))


@pytest.mark.parametrize("shape", [[], [1, 1]])
def test_a_tensor_that_is_no_vector_is_refused(decoder: Any, shape: list[int]) -> None:
    files = np.full(shape, written(picture(), "PNG"), object)
    assert "is not compatible with expected shape [?]" in refusal(decoder(HEIGHT, WIDTH, 3), files)


def test_damaged_files_give_pixels_or_a_refusal_and_nothing_else(decoder: Any) -> None:
    decode, random = decoder(16, 16, 3), np.random.default_rng(0)
    sound = [make() for make in WRITTEN_BY_PILLOW.values()]
    outcomes = {"pixels": 0, "refused": 0}
    for turn in range(400):
        damaged = bytearray(sound[turn % len(sound)])
        for _ in range(random.integers(1, 6)):
            place = int(random.integers(3, len(damaged)))
            match random.integers(3):
                case 0:
                    damaged[place] = random.integers(256)
                case 1:
                    del damaged[place : place + int(random.integers(1, 20))]
                case 2:
                    damaged[place:place] = random.bytes(int(random.integers(1, 20)))
        try:
            pixels = decode([bytes(damaged)])
        except tf.errors.InvalidArgumentError:
            outcomes["refused"] += 1
        else:
            assert pixels.min() >= 0
            assert pixels.max() <= 255
            outcomes["pixels"] += 1
    assert min(outcomes.values()) > 0
