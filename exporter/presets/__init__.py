"""Models that `export-model` can publish without a file from the user."""
