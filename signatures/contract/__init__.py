"""What exporter, server and client must agree on: names, records, questions and the judge. Needs no TensorFlow."""
