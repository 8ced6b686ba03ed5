"""The connection options: address, model and the like. They may come before or after the command."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from client.cli.options import POSITIVE, utf8
from client.client import ServingClient
from client.rpc.channel import ChannelOptions, Tls

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_TIMEOUT = 10.0
_ELSEWHERE = (
    "--address, --model, --timeout and the other connection options may also follow the command: "
    "see serving-client --help."
)


@dataclass(frozen=True)
class Connection:
    """The values of the connection's options."""

    address: str | None
    model: str | None
    timeout: float
    options: ChannelOptions

    def required_model(self) -> str:
        """Return the model's name. Raises click.UsageError if the option is missing."""
        if self.model is None:
            raise click.UsageError("--model NAME is missing.")
        return self.model

    def required_address(self) -> str:
        """Return the address. Raises click.UsageError if the option is missing."""
        if self.address is None:
            raise click.UsageError("--address HOST:PORT is missing.")
        return self.address

    def addresses(self) -> list[str]:
        """Return the addresses of all replicas."""
        with self.open() as client:
            return client.addresses

    def open(self, address: str | None = None) -> ServingClient:
        """Return a client for this address or another one. Raises click.UsageError if an option is missing."""
        reached = address or self.required_address()
        return ServingClient(reached, self.required_model(), timeout=self.timeout, options=self.options)


def connection_options() -> list[click.Option]:
    """Return the options. They have no defaults, so that the command can tell which were given."""
    return [
        click.Option(
            ["--address"],
            metavar="HOST:PORT",
            help="Where the server listens for gRPC; several, separated by commas, are replicas.",
        ),
        click.Option(["--model"], callback=utf8, metavar="NAME", help="The name that the model is served under."),
        click.Option(
            ["--timeout"],
            metavar="SECONDS",
            type=POSITIVE,
            help=f"How long each call may take.  [default: {_TIMEOUT:g}]",
        ),
        click.Option(["--tls"], is_flag=True, help="Use TLS, and trust the usual certificate authorities."),
        click.Option(
            ["--ca"], type=_FILE, metavar="FILE", help="Use TLS, and trust the certificate authority in this PEM file."
        ),
        click.Option(["--certificate"], type=_FILE, metavar="FILE", help="The client certificate, for mutual TLS."),
        click.Option(["--key"], type=_FILE, metavar="FILE", help="The key of the client certificate."),
        click.Option(
            ["--server-name"], metavar="NAME", help="The name in the server's certificate, if not that of the address."
        ),
        click.Option(
            ["--token-file"], type=_FILE, metavar="FILE", help="Send the bearer token in this file; needs TLS."
        ),
        click.Option(["--token-over-plaintext"], is_flag=True, help="Send the token even without TLS."),
        click.Option(["--gzip"], is_flag=True, help="Compress requests."),
    ]


class ConnectedGroup(click.Group):
    """A group of commands that also takes the connection options before the command."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params += connection_options()

    def invoke(self, context: click.Context) -> Any:
        """Pass the connection options on to the command."""
        context.obj = _pop_given(context)
        return super().invoke(context)


class ConnectedCommand(click.Command):
    """A command that also takes the connection options after it, which win. Its first argument is a Connection."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.epilog = _ELSEWHERE
        for option in connection_options():
            option.hidden = True
            self.params.append(option)

    def invoke(self, context: click.Context) -> Any:
        """Make a Connection from the options before and after the command."""
        context.obj = _connection(**{**context.obj, **_pop_given(context)})
        return super().invoke(context)


def _pop_given(context: click.Context) -> dict[str, Any]:
    """Remove the given connection options from a command's parameters and return them."""
    given = {str(option.name): context.params.pop(str(option.name)) for option in connection_options()}
    return {name: value for name, value in given.items() if value}


def _connection(
    *,
    address: str | None = None,
    model: str | None = None,
    timeout: float = _TIMEOUT,
    token_file: Path | None = None,
    token_over_plaintext: bool = False,
    gzip: bool = False,
    tls: bool = False,
    **certificates: Any,
) -> Connection:
    options = ChannelOptions(
        tls=Tls(**certificates) if tls or certificates else None,
        token=None if token_file is None else token_file.read_bytes().decode("latin-1").strip(),
        secrets_over_plaintext=token_over_plaintext,
        gzip=gzip,
    )
    return Connection(address, model, timeout, options)
