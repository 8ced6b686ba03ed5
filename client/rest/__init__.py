"""TensorFlow Serving's REST API: requests as JSON, answers as arrays."""
