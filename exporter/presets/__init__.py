"""Trained models that `export-model` can publish without a file of the user's own."""
