"""From the bytes of JPEG and PNG files to pixels, inside the graph.

The decoder is the first code that a stranger's bytes reach, and half a megabyte can unpack to gigabytes. So a file must
begin like a JPEG or a PNG, and is refused before decoding if its bytes announce too high a cost.
`tf.io.decode_image` cannot be used: an animated WebP makes it end the process.
"""

from collections.abc import Sequence

import tensorflow as tf

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PNG\r\n\x1a\n"

# The start of a PNG's first chunk: its length, 13, and its name. Width and height follow, four bytes each. libpng skips
# another chunk placed before it; the size read here would then not be the size that libpng decodes.
_IHDR_START = b"\x00\x00\x00\rIHDR"
_IHDR_END = 33

# The limit of JPEG. A file with one long row seems small, but resizing needs memory in proportion to the row length.
_LONGEST_SIDE = 65_535

# Decoding each scan of a progressive JPEG passes over the whole image, but an empty scan takes only 53 bytes. Encoders
# write about 10 scans. Smaller images may have more, because the marker also occurs in data that cameras append.
_SCAN_MARKER = b"\xff\xda"
_MOST_SCANS = 64

# Compressed text: libpng unpacks up to 8 MB from each such chunk of 8 KB and keeps it in memory.
_TEXT_CHUNKS = (b"zTXt", b"iTXt")
_MOST_TEXTS = 16

# Adobe's marker (APP14, transform 0). libjpeg treats CMYK as inverted only with this marker, Pillow always.
_ADOBE_MARKER = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"

# Pillow's weights of red, green and blue for gray, in 65,536ths so that a float32 holds each sum exactly.
_GRAY_WEIGHTS = (19595 / 65536, 38470 / 65536, 7471 / 65536)

_HEXADECIMAL = [f"{byte:02x}" for byte in range(256)]


def decode_images(
    encoded: tf.Tensor, height: int, width: int, channels: int, max_pixels: int, parallel_iterations: int
) -> tf.Tensor:
    """Decode JPEG and PNG files to pixels of one size, each as Pillow's `convert("RGB")` or `convert("L")` would.

    An image that already has the requested size equals Pillow's. Any other is resized (bilinear, antialiased) and not
    rounded. Transparency is dropped, 16-bit values keep their high byte, and EXIF orientation is not applied. Of an
    animated PNG, the default image is decoded. docs/images.md has the bounds.

    Args:
        encoded: string [B], one file each; of unknown shape if it comes from a request.
        height: H, in pixels.
        width: W, in pixels.
        channels: C; 1 for gray, 3 for RGB.
        max_pixels: the most pixels (width times height) that a file may declare.
        parallel_iterations: how many files are decoded, and therefore held in memory, at once.

    Returns:
        float32 [B, H, W, C] in 0..255.

    Raises:
        ValueError: when traced, for another number of channels.
        tf.errors.InvalidArgumentError: when run, if `encoded` is not of rank 1, or if a file is neither JPEG nor PNG,
            declares too many pixels, or is cut short or broken.

    Example:
        >>> decode_images(tf.constant([jpeg, png]), 4, 4, 3, max_pixels=64_000_000, parallel_iterations=2).shape
        TensorShape([2, 4, 4, 3])
    """
    if channels not in (1, 3):
        raise ValueError(
            f"images decode to 1 or 3 channels, but the model takes {channels}; leave out the image signatures"
        )
    encoded = tf.ensure_shape(encoded, [None])

    def decode_one(numbered: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return _fit(_decode(*numbered, max_pixels), height, width, channels)

    return tf.map_fn(
        decode_one,
        (tf.range(tf.size(encoded)), encoded),
        parallel_iterations=parallel_iterations,
        fn_output_signature=tf.TensorSpec([height, width, channels], tf.float32),
    )


def _decode(number: tf.Tensor, file: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Return a file's pixels, uint8 [?, ?, 3], if it may be decoded; `number` is its position in the batch."""
    is_jpeg = tf.equal(tf.strings.substr(file, 0, len(_JPEG_START)), _JPEG_START)
    is_png = tf.equal(tf.strings.substr(file, 0, len(_PNG_START)), _PNG_START)
    known = _assert(
        tf.logical_or(is_jpeg, is_png),
        ["image", number, "is neither a JPEG nor a PNG; its first bytes:", _first_bytes(file)],
    )
    with tf.control_dependencies([known]):
        checked = tf.cond(
            is_jpeg, lambda: _check_jpeg(number, file, max_pixels), lambda: _check_png(number, file, max_pixels)
        )
    # This op decodes PNG too, as its documentation says. Pillow uses the same accurate transform.
    return tf.io.decode_jpeg(checked, channels=3, dct_method="INTEGER_ACCURATE")


def _first_bytes(file: tf.Tensor) -> tf.Tensor:
    """Return the first bytes in hexadecimal, as a scalar string: an error message must be UTF-8."""
    first = tf.io.decode_raw(tf.strings.substr(file, 0, 8), tf.uint8)
    return tf.strings.reduce_join(tf.gather(_HEXADECIMAL, tf.cast(first, tf.int32)), separator=" ")


def _check_jpeg(number: tf.Tensor, file: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Return the file in the form to decode, if decoding costs no more than allowed."""
    height, width, components = tf.unstack(tf.io.extract_jpeg_shape(file))
    scans = _count(file, _SCAN_MARKER)
    with tf.control_dependencies([_assert_size(number, width, height, max_pixels)]):
        few_scans = _assert(
            _pixels(width, height) * tf.cast(scans, tf.int64) <= max_pixels * _MOST_SCANS,
            ["image", number, "is a JPEG with", scans, "scans, too many for its size; save it as a baseline JPEG"],
        )
    with tf.control_dependencies([few_scans]):
        return tf.cond(tf.equal(components, 4), lambda: _mark_as_adobe(file), lambda: tf.identity(file))


def _mark_as_adobe(file: tf.Tensor) -> tf.Tensor:
    """Insert Adobe's marker at the start of a JPEG. If the file has its own marker, that one comes later and wins."""
    rest = tf.strings.substr(file, 2, tf.strings.length(file))
    return tf.strings.join([tf.strings.substr(file, 0, 2), _ADOBE_MARKER, rest])


def _check_png(number: tf.Tensor, file: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Return the file, if decoding costs no more than allowed."""
    # Padded, because a substring that begins after the end would raise an error that explains nothing.
    header = tf.strings.join([tf.strings.substr(file, 0, _IHDR_END), bytes(_IHDR_END)])
    place = len(_PNG_START) + len(_IHDR_START)
    size = tf.io.decode_raw(tf.strings.substr(header, place, 8), tf.int32, little_endian=False)
    width, height = tf.unstack(size, num=2)
    whole = _assert(
        tf.reduce_all(
            [
                tf.strings.length(file) >= _IHDR_END,
                tf.equal(tf.strings.substr(header, len(_PNG_START), len(_IHDR_START)), _IHDR_START),
                # Numbers from 2**31 on are read as negative; a PNG's limit is the same.
                width > 0,
                height > 0,
            ]
        ),
        ["image", number, "is a PNG with a header that is broken or cut short; send the whole file"],
    )
    texts = tf.add_n([_count(file, name) for name in _TEXT_CHUNKS])
    few_texts = _assert(
        texts <= _MOST_TEXTS,
        ["image", number, "is a PNG with", texts, f"texts, more than the {_MOST_TEXTS} allowed; send it without"],
    )
    with tf.control_dependencies([whole]):
        small = _assert_size(number, width, height, max_pixels)
    with tf.control_dependencies([small, few_texts]):
        return tf.identity(file)


def _assert_size(number: tf.Tensor, width: tf.Tensor, height: tf.Tensor, max_pixels: int) -> tf.Operation:
    return _assert(
        tf.logical_and(_pixels(width, height) <= max_pixels, tf.maximum(width, height) <= _LONGEST_SIDE),
        [
            *("image", number, "is", width, "x", height),
            f"pixels; send one of at most {max_pixels} pixels in all and {_LONGEST_SIDE} a side",
        ],
    )


def _pixels(width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    return tf.cast(width, tf.int64) * tf.cast(height, tf.int64)


def _count(file: tf.Tensor, mark: bytes) -> tf.Tensor:
    # The op itself: tf.strings.split adds a dozen more, for ragged batches.
    return tf.size(tf.raw_ops.StringSplitV2(input=[file], sep=mark).values) - 1


def _fit(pixels: tf.Tensor, height: int, width: int, channels: int) -> tf.Tensor:
    """Turn uint8 [?, ?, 3] into float32 [height, width, channels].

    Gray is computed after resizing, which is linear. Before resizing, it would need many times the image's memory.
    """

    def as_it_is() -> tf.Tensor:
        # Only gray has fractions to round here, and Pillow rounds them.
        return tf.floor(_mix(tf.cast(pixels, tf.float32), channels) + 0.5)

    def resized() -> tf.Tensor:
        smooth = tf.image.resize(pixels, [height, width], antialias=True)
        # The filter's weights sum to a little more or less than 1.
        return _mix(tf.clip_by_value(smooth, 0.0, 255.0), channels)

    fits = tf.reduce_all(tf.equal(tf.shape(pixels)[:2], [height, width]))
    return tf.ensure_shape(tf.cond(fits, as_it_is, resized), [height, width, channels])


def _mix(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    if channels == 3:
        return pixels
    return tf.reduce_sum(pixels * _GRAY_WEIGHTS, axis=-1, keepdims=True)


def _assert(condition: tf.Tensor, explanation: Sequence[str | tf.Tensor]) -> tf.Operation:
    words = [word if isinstance(word, str) else tf.strings.as_string(word) for word in explanation]
    return tf.debugging.Assert(condition, [tf.strings.join(words, separator=" ")])
