"""Load a Classifier from a file, a factory function or a preset."""
