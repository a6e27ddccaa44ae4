"""JWTs of an identity provider, by a real key set: a file that is rotated, an address, a shared secret."""

import base64
import hmac
import http.server
import json
import secrets
import threading
import time

import pyarrow.flight as flight
import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from demo import adbc
from demo.server import ADMIN_PASSWORD, Server

ISSUER, AUDIENCE = "https://issuer.example", "insula"
CHECKS = ("--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE)


def claims(**changes) -> dict:
    now = int(time.time())
    given = {"sub": "ann", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300} | changes
    return {name: value for name, value in given.items() if value is not None}


def signed(key, algorithm: str = "ES256", **changes) -> str:
    header = {"alg": algorithm} | ({"kid": key.kid} if key.kid else {})
    return jwt.encode(header, claims(**changes), key, algorithms=[algorithm])


def public(*keys) -> str:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]})


def who(server: Server, token: str, **headers: str) -> str:
    options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
    options |= {adbc.HEADER + name.replace("_", "-"): value for name, value in headers.items()}
    with dbapi.connect(server.url, options, autocommit=True) as connection:
        return adbc.scalar(connection, "SELECT current_user")


def refusal(server: Server, token: str) -> str:
    with pytest.raises(dbapi.Error) as refused:
        who(server, token)
    assert adbc.code(refused.value) == "Unauthenticated", refused.value
    return str(refused.value)


@pytest.fixture(scope="module")
def keys():
    return ECKey.generate_key("P-256", {"kid": "first"}), RSAKey.generate_key(2048, {"kid": "second"})


@pytest.fixture(scope="module")
def jwks(keys, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "jwks.json"
    path.write_text(public(*keys))
    return path


@pytest.fixture(scope="module")
def provider(jwks, tmp_path_factory):
    with Server(tmp_path_factory.mktemp("jwt") / "data", "--jwt-jwks", str(jwks), *CHECKS) as server:
        yield server


def test_the_claim_is_the_user(provider, keys):
    ec, rsa = keys
    assert who(provider, signed(ec)) == "ann"
    assert who(provider, signed(rsa, "RS256", sub="bob")) == "bob"
    assert who(provider, signed(rsa, "PS384", sub='../x" OR 1=1')) == '../x" OR 1=1'


def test_rows_are_the_users_own(provider, keys):
    with adbc.connect(provider.url, "admin", ADMIN_PASSWORD) as admin:
        adbc.change(admin, "CREATE TABLE notes (id BIGINT PRIMARY KEY, note TEXT)")
    for name in ("carol", "dave"):
        options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {signed(keys[0], sub=name)}"}
        with dbapi.connect(provider.url, options, autocommit=True) as connection:
            adbc.change(connection, f"INSERT INTO notes VALUES (1, '{name}')")
            assert adbc.scalar(connection, "SELECT note FROM notes") == name


def test_a_name_in_a_token_gives_no_role(provider, keys):
    """Roles are the catalog's: what else the token claims says nothing."""
    token = signed(keys[0], sub="eve", role="admin", roles=["admin"])
    with pytest.raises(dbapi.Error) as refused:
        who(provider, token, x_insula_run_as="ann")
    assert adbc.code(refused.value) == "PermissionDenied"


def test_whom_a_service_names_need_not_have_come(provider, keys):
    with adbc.connect(provider.url, "admin", ADMIN_PASSWORD) as admin:
        adbc.change(admin, "CREATE USER proxy PASSWORD 'p' ROLE service")
        adbc.change(admin, "CREATE SHARED TABLE rates (id INT PRIMARY KEY) WITH (grants = 'none')")
        adbc.change(admin, 'GRANT SELECT ON rates TO "yet to come"')
    assert who(provider, signed(keys[0], sub="proxy"), x_insula_run_as="frank") == "frank"
    options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {signed(keys[0], sub='yet to come')}"}
    with dbapi.connect(provider.url, options, autocommit=True) as connection:
        assert adbc.scalar(connection, "SELECT count(*) FROM rates") == 0
    with pytest.raises(dbapi.Error) as refused:
        who(provider, signed(keys[0], sub="proxy"), x_insula_run_as="n" * 257)
    assert adbc.code(refused.value) == "InvalidArgument"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"nbf": 99_999_999_999}, "not valid yet"),
        ({"iss": "https://other.example"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"aud": "other"}, "audience"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "n" * 257}, "sub"),
        ({"sub": "a\0b"}, "sub"),
    ],
)
def test_wrong_claims_are_refused(provider, keys, changes, reason):
    assert reason in refusal(provider, signed(keys[0], **changes))


def test_wrong_signatures_are_refused(provider, keys):
    stranger = ECKey.generate_key("P-256", {"kid": "first"})
    assert "signature" in refusal(provider, signed(stranger))
    head, body, signature = signed(keys[0]).split(".")
    assert "signature" in refusal(provider, f"{head}.{body}.{'A' * len(signature)}")


def test_a_public_key_is_no_shared_secret(provider, keys):
    """The classic confusion: HS256, "signed" with the provider's public key."""
    body = signed(keys[1], "RS256").split(".")[1]
    text = f"{encoded(json.dumps({'alg': 'HS256', 'kid': 'second'}).encode())}.{body}"
    secret = keys[1].as_pem(private=False)
    forged = f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"
    assert "HS256 is not allowed" in refusal(provider, forged)
    unsigned = encoded(b'{"alg":"none"}')
    refusal(provider, f"{unsigned}.{body}.")


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_pyarrow_sends_it_as_it_is(provider, keys):
    client = flight.FlightClient(provider.url.replace("grpc://", "grpc+tcp://"))
    options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {signed(keys[0])}".encode())])
    assert [action.type for action in client.list_actions(options)]
    client.close()


def test_keys_are_rotated(tmp_path):
    old, new = (ECKey.generate_key("P-256", {"kid": kid}) for kid in ("old", "new"))
    path = tmp_path / "jwks.json"
    path.write_text(public(old))
    with Server(tmp_path / "data", "--jwt-jwks", str(path), *CHECKS) as server:
        assert who(server, signed(old)) == "ann"
        path.write_text(public(new))
        # An unknown key makes the server look again, but not at every request.
        accepted_by(server, signed(new), time.monotonic() + 30)
        assert "no key" in refusal(server, signed(old, sub="other"))


def accepted_by(server: Server, token: str, deadline: float) -> None:
    while True:
        try:
            assert who(server, token) == "ann"
            return
        except dbapi.Error:
            assert time.monotonic() < deadline, "the new key was never read"


def test_keys_from_an_address(tmp_path, keys):
    body = public(*keys).encode()

    class Provider(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as provider:
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{provider.server_port}/jwks"
        with Server(tmp_path / "data", "--jwt-jwks", url, *CHECKS) as server:
            assert who(server, signed(keys[0])) == "ann"
        provider.shutdown()


def test_a_shared_secret(tmp_path):
    text = secrets.token_hex(32)
    secret = OctKey.import_key(text)
    path = tmp_path / "secret"
    path.write_text(text + "\n")
    flags = ("--jwt-secret-file", str(path), "--jwt-user-claim", "email", *CHECKS)
    with Server(tmp_path / "data", *flags) as server:
        assert who(server, signed(secret, "HS512", email="ann@example.com")) == "ann@example.com"
        assert "signature" in refusal(server, signed(OctKey.generate_key(256), "HS256", email="x"))
        log = server.log.read_text()
    assert text not in log and str(path) in log


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--jwt-issuer", "x"), "JWTs need keys"),
        (("--jwt-jwks", "http://example.com/jwks"), "must be https"),
        (("--jwt-jwks", "/nowhere/jwks.json"), "cannot read"),
        (("--jwt-jwks", "/dev/null", "--jwt-secret-file", "/dev/null"), "exclude each other"),
        (("--jwt-secret-file", "/dev/null"), "less than 32 bytes"),
        (("--jwt-jwks", "/dev/null", "--jwt-algorithms", "HS999"), "HS999"),
    ],
)
def test_unusable_settings_stop_the_start(tmp_path, flags, reason):
    server = Server(tmp_path / "data", *flags)
    with pytest.raises(RuntimeError):
        server.start()
    assert reason in server.log_tail()
