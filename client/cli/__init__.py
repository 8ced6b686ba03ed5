"""The command `serving-client`."""

from client.cli.commands import main, run

__all__ = ["main", "run"]
