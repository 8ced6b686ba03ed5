"""The names that cross a border between the exporter, a server and a client, defined once.

This module imports nothing, so that the client can use it without TensorFlow.
"""

# Signature keys.
SERVING_DEFAULT = "serving_default"
TOP_K = "top_k"
ENCODED_IMAGES_TOP_K = "encoded_images_top_k"
FIXED_K = "fixed_k"
CLASSIFY = "classify"
EXPORT_INFO = "export_info"

# A signature, and the input of pictures as files that it and ENCODED_IMAGES_TOP_K take.
ENCODED_IMAGES = "encoded_images"

# Those that take picture files, of a model that takes pictures; CLASSIFY of any other takes the model's own inputs.
PICTURE_SIGNATURES = (ENCODED_IMAGES, ENCODED_IMAGES_TOP_K, CLASSIFY)

# Inputs. The model's own inputs keep the names that the model gives them; a lone image input is called IMAGES.
IMAGES = "images"
K = "k"
MIN_SCORE = "min_score"
PROBE = "probe"
# The Classify API's one input, and the feature of a tf.Example that holds a picture's file.
EXAMPLES = "inputs"
IMAGE_FEATURE = "image/encoded"

# How pixels become a model's input: see signatures.preprocessing.
PREPROCESSINGS = ("none", "unit", "tf", "caffe", "torch")

# Outputs of the signatures that answer with dense and with listed probabilities.
PROBABILITIES = "probabilities"
INDICES = "indices"
SCORES = "scores"
LABELS = "labels"

# Outputs of CLASSIFY, beside SCORES.
CLASSES = "classes"

# Outputs of EXPORT_INFO, beside K and LABELS (as JSON).
EXPORT_ID = "export_id"
MODEL = "model"
PREPROCESSING = "preprocessing"
GOLDEN_DIGEST = "golden_digest"

# What fills the unused places of a top_k answer.
NO_INDEX = -1
NO_SCORE = 0.0
NO_LABEL = ""

# Files of a published version, below its directory.
ASSETS_EXTRA = "assets.extra"
EXPORT_FILE = "export.json"
GOLDEN_FILE = "golden_predictions"
WARMUP_FILE = "tf_serving_warmup_requests"

# The traced function that computes the dense probabilities, as graphs name it.
BACKBONE = "backbone"
