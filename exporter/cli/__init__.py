"""The command line `export-model`."""

from exporter.cli.command import main

__all__ = ["main"]
