"""Write the files that a TensorFlow server needs beside the models, to `<output>/deploy/`."""

from exporter.deploy.models_config import named_versions
from exporter.deploy.server_files import ServerFiles, write_server_files

__all__ = ["ServerFiles", "named_versions", "write_server_files"]
