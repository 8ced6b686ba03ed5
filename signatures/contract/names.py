"""The names that the exporter, a server and a client share, defined once.

This module imports nothing, so that the client can use it without TensorFlow.
"""

# Signature keys.
SERVING_DEFAULT = "serving_default"
TOP_K = "top_k"
ENCODED_IMAGES_TOP_K = "encoded_images_top_k"
ENCODED_IMAGES_DENSE = "encoded_images_dense"
FIXED_K = "fixed_k"
CLASSIFY = "classify"
EXPORT_INFO = "export_info"

# A signature of exports whose labels have thresholds: no other answer shows the scores below them.
DENSE = "dense"

# The name of a signature, and of the input for image files of this signature and those named after it.
ENCODED_IMAGES = "encoded_images"

# The signatures of an image model that take image files. For any other model, CLASSIFY takes the model's own inputs.
IMAGE_SIGNATURES = (ENCODED_IMAGES, ENCODED_IMAGES_TOP_K, ENCODED_IMAGES_DENSE, CLASSIFY)

# Inputs. The model's own inputs keep the model's names for them; a single image input without a name is called IMAGES.
IMAGES = "images"
K = "k"
MIN_SCORE = "min_score"
PROBE = "probe"
# The inputs that limit what an answer keeps. Both may be left out.
LIMITS = (K, MIN_SCORE)
# The only input of the Classify API, and the feature of a tf.Example that holds an image file.
EXAMPLES = "inputs"
IMAGE_FEATURE = "image/encoded"

# How pixels become a model's input: see signatures.preprocessing.
PREPROCESSINGS = ("none", "unit", "tf", "caffe", "torch")

# Outputs of the signatures that return a sparse vector of probabilities, all of them, or a list of the kept ones.
PROBABILITIES = "probabilities"
DENSE_PROBABILITIES = "dense_probabilities"
INDICES = "indices"
SCORES = "scores"
LABELS = "labels"

# Outputs of CLASSIFY, besides SCORES.
CLASSES = "classes"

# Outputs of EXPORT_INFO, besides K, MIN_SCORE and LABELS (as JSON).
EXPORT_ID = "export_id"
MODEL = "model"
PREPROCESSING = "preprocessing"
GOLDEN_DIGEST = "golden_digest"
THRESHOLDS = "thresholds"

# The values in the unused places of a top_k answer.
NO_INDEX = -1
NO_SCORE = 0.0
NO_LABEL = ""

# Files of a published version, in its directory.
ASSETS_EXTRA = "assets.extra"
EXPORT_FILE = "export.json"
GOLDEN_FILE = "golden_predictions"
WARMUP_FILE = "tf_serving_warmup_requests"

# The traced function that computes the dense probabilities, as graphs name it.
BACKBONE = "backbone"
