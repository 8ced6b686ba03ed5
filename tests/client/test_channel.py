import json
import math
import shutil
import subprocess
import sys

import grpc
import pytest

from client import ChannelOptions, InputError, Keepalive, Retry, ServingClient, Tls, UnreachableError
from client.rpc.channel import addresses, grpc_target, service_config


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """A certificate authority, a server's certificate for localhost and a client's, made for this run."""
    if not shutil.which("openssl"):
        pytest.skip("needs the command openssl to make certificates")
    folder = tmp_path_factory.mktemp("pems")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    authority = "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca"
    openssl(*authority.split())
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for name in ("server", "client"):
        openssl(*f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}".split())
        openssl(
            *f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2".split(),
            *(("-extfile", "names") if name == "server" else ()),
        )
    return folder


def credentials(pems, mutual):
    pair = [((pems / "server.key").read_bytes(), (pems / "server.pem").read_bytes())]
    return grpc.ssl_server_credentials(pair, (pems / "ca.pem").read_bytes() if mutual else None, mutual)


@pytest.fixture
def tls_server(fake, model, pems):
    server = fake.Server(model, credentials=credentials(pems, False))
    yield server
    server.stop()


@pytest.fixture
def mutual_server(fake, model, pems):
    server = fake.Server(model, credentials=credentials(pems, True))
    yield server
    server.stop()


def ask(server, options, address=None):
    with ServingClient(address or server.address, "letters", timeout=3, options=options) as client:
        return client.info()


def test_tls_with_the_right_authority_works_and_carries_the_token(tls_server, pems):
    tls = Tls(ca=pems / "ca.pem")
    assert ask(tls_server, ChannelOptions(tls=tls, token="sesame", metadata={"X-Tenant": "a"}))
    assert tls_server.metadata[-1]["authorization"] == "Bearer sesame"
    assert tls_server.metadata[-1]["x-tenant"] == "a"


def test_tls_works_with_several_addresses(tls_server, pems):
    address = [tls_server.address, tls_server.address]
    assert ask(tls_server, ChannelOptions(tls=Tls(ca=pems / "ca.pem")), address)


def test_tls_refuses_another_authority_another_name_and_plaintext(tls_server, pems):
    for options in (
        ChannelOptions(tls=Tls(ca=pems / "client.pem")),
        ChannelOptions(tls=Tls(ca=pems / "ca.pem", server_name="example.org")),
        ChannelOptions(),
    ):
        with pytest.raises(UnreachableError):
            ask(tls_server, options)


def test_a_failed_handshake_is_one_sentence_that_says_what_to_do(
    tls_server, mutual_server, server, pems, version, capfd
):
    ca = pems / "ca.pem"
    for asked, options, said in (
        (server, ChannelOptions(tls=Tls()), "does not speak TLS: leave TLS out"),
        (tls_server, ChannelOptions(tls=Tls()), "not signed by a trusted authority"),
        (tls_server, ChannelOptions(tls=Tls(ca=ca, server_name="example.org")), "is for another name"),
        (tls_server, ChannelOptions(), "may require TLS"),
        (mutual_server, ChannelOptions(tls=Tls(ca=ca)), "or a client certificate"),
    ):
        with pytest.raises(UnreachableError, match=said):
            ask(asked, options)
    capfd.readouterr()


@pytest.mark.parametrize("command", ["status", "check", "bench"])
def test_tls_to_a_plaintext_port_is_status_3_and_not_ok(server, version, command):
    more = ["--golden", str(version)] if command == "check" else []
    arguments = ["--address", server.address, "--model", "letters", "--timeout", "3", "--tls", command, *more]
    main = "from client.cli.commands import main; main()"
    done = subprocess.run([sys.executable, "-c", main, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"serving-client: no server can be reached at {server.address}: it does not speak TLS: leave TLS out\n"
    )


def test_what_is_wrong_with_a_name_is_said_without_grpcs_brackets():
    with ServingClient("no-such-host.invalid:1", "letters", timeout=3) as client:
        with pytest.raises(UnreachableError) as failure:
            client.info()
        assert not str(failure.value).endswith("]")


def test_mutual_tls_wants_the_clients_certificate(mutual_server, pems):
    ca = pems / "ca.pem"
    assert ask(mutual_server, ChannelOptions(tls=Tls(ca=ca, certificate=pems / "client.pem", key=pems / "client.key")))
    with pytest.raises(UnreachableError):
        ask(mutual_server, ChannelOptions(tls=Tls(ca=ca)))


def test_certificates_must_be_there_and_complete(pems):
    with pytest.raises(InputError, match="cannot be read"):
        ServingClient("localhost:1", "m", options=ChannelOptions(tls=Tls(ca=pems / "nosuch.pem")))
    with pytest.raises(InputError, match="needs its key"):
        ServingClient("localhost:1", "m", options=ChannelOptions(tls=Tls(certificate=pems / "client.pem")))


@pytest.mark.parametrize("secret", [{"token": "sesame"}, {"metadata": {"x-key": "sesame"}}])
def test_secrets_are_not_sent_over_plaintext_unless_told(server, secret):
    with pytest.raises(InputError, match="plaintext"):
        ChannelOptions(**secret)
    assert ask(server, ChannelOptions(secrets_over_plaintext=True, **secret))
    assert any("sesame" in value for value in server.metadata[-1].values())


def test_a_token_that_no_header_can_hold_is_refused():
    for token in ("sésame", "two\nlines", "\x00"):
        with pytest.raises(InputError, match="ASCII"):
            ChannelOptions(token=token, secrets_over_plaintext=True)


@pytest.mark.parametrize("name", ["x tenant", "x-trace-bin", "grpc-timeout", ":path", "", "é"])
def test_a_name_that_no_header_can_have_is_refused(name):
    with pytest.raises(InputError, match="cannot be the name of a header"):
        ChannelOptions(metadata={name: "a"}, secrets_over_plaintext=True)


@pytest.mark.parametrize("seconds", [0, -1, 1e-5, math.inf, math.nan])
def test_a_backoff_that_grpc_does_not_take_is_refused(seconds):
    for name in ("initial_backoff", "max_backoff"):
        with pytest.raises(InputError, match=f"{name} is"):
            Retry(**{name: seconds})


def test_keepalive_can_be_left_out_and_must_be_positive(server):
    assert ask(server, ChannelOptions(keepalive=Keepalive(interval=math.inf)))
    for seconds in (0, -1, math.nan):
        with pytest.raises(InputError, match="above 0"):
            Keepalive(interval=seconds)


def test_a_repr_shows_settings_and_hides_secrets():
    options = ChannelOptions(token="sesame", metadata={"x-key": "sesame"}, secrets_over_plaintext=True, gzip=True)
    assert "sesame" not in repr(options)
    assert "x-key" in repr(options)
    assert "gzip=True" in repr(options)
    assert "interval=60.0" in repr(Keepalive())


def test_requests_are_compressed_when_asked(server):
    assert ask(server, ChannelOptions(gzip=True))


def test_retries_are_left_to_grpc_and_bounded():
    config = json.loads(service_config(Retry(attempts=3)))
    assert config["methodConfig"][0]["retryPolicy"]["maxAttempts"] == 3
    assert "methodConfig" not in json.loads(service_config(Retry(attempts=1)))
    with pytest.raises(InputError, match="from 1"):
        Retry(attempts=6)


def test_several_addresses_are_used_in_turn(fake):
    servers = [fake.Server(fake.Model(seed)) for seed in range(2)]
    try:
        with ServingClient(",".join(server.address for server in servers), "letters") as client:
            seen = {client.info().export_id for _ in range(20)}
        assert len(seen) == 2
    finally:
        for server in servers:
            server.stop()


def test_addresses_need_a_port():
    assert addresses("a:1, b:2") == ["a:1", "b:2"]
    assert addresses(["unix:/tmp/socket"]) == ["unix:/tmp/socket"]
    for address in ("localhost", "localhost:", "localhost:grpc", ""):
        with pytest.raises(InputError, match="has no port: write HOST:PORT"):
            addresses(address)
    for address in ("http://localhost:8500", ":8500"):
        with pytest.raises(InputError, match="is not HOST:PORT"):
            addresses(address)
    with pytest.raises(InputError, match="no address was passed"):
        addresses([])


def test_several_addresses_make_one_target_of_one_kind():
    assert grpc_target("127.0.0.1:1,127.0.0.2:2") == "ipv4:127.0.0.1:1,127.0.0.2:2"
    assert grpc_target("[::1]:1,[::2]:2") == "ipv6:[::1]:1,[::2]:2"
    with pytest.raises(InputError, match="of one kind"):
        grpc_target("127.0.0.1:1,[::1]:2")
    with pytest.raises(InputError, match="cannot be one of several addresses"):
        grpc_target(["unix:/tmp/a", "unix:/tmp/b"])
    with pytest.raises(UnreachableError, match="cannot be looked up"):
        grpc_target(["a" * 70 + ":1", "127.0.0.1:2"])
    with pytest.raises(UnreachableError, match="cannot be looked up"):
        grpc_target("no-such-host.invalid:1,127.0.0.1:2")
