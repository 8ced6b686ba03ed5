"""What the exporter, a server and a client must agree on: names, records, questions and the judge. No TensorFlow."""
