"""Mutual TLS: the client's certificate names its user."""

import datetime

import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo import adbc
from demo.server import ADMIN_PASSWORD, Server


class Authority:
    """A certificate authority of a test."""

    def __init__(self, name: str):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = pem(self._signed(self.name, self.key, x509.BasicConstraints(ca=True, path_length=0)))

    def _signed(self, subject, key, *extensions):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, common_name: str, *alternatives: x509.GeneralName) -> tuple[str, str]:
        """Certificate and key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        extensions = [x509.SubjectAlternativeName(alternatives)] if alternatives else []
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem(self._signed(subject, key, x509.BasicConstraints(ca=False, path_length=None), *extensions)), secret.decode()


def pem(certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def authority():
    return Authority("tests")


@pytest.fixture(scope="module")
def flags(authority, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = authority.issue("server", x509.DNSName("localhost"))
    for name, text in (("cert", certificate), ("key", key), ("ca", authority.pem)):
        (directory / name).write_text(text)
    return ("--tls-cert", f"{directory}/cert", "--tls-key", f"{directory}/key", "--tls-client-ca", f"{directory}/ca")


@pytest.fixture(scope="module")
def server(flags, tmp_path_factory):
    with Server(tmp_path_factory.mktemp("mtls") / "data", *flags) as server:
        yield server


def connect(server: Server, authority: Authority, own: tuple[str, str] | None, **options: str) -> dbapi.Connection:
    url = server.url.replace("127.0.0.1", "localhost")
    assert url.startswith("grpc+tls://")
    options = {DatabaseOptions.TLS_ROOT_CERTS.value: authority.pem} | options
    if own:
        options |= {DatabaseOptions.MTLS_CERT_CHAIN.value: own[0], DatabaseOptions.MTLS_PRIVATE_KEY.value: own[1]}
    return dbapi.connect(url, options, autocommit=True)


def who(*arguments, **options) -> str:
    with connect(*arguments, **options) as connection:
        return adbc.scalar(connection, "SELECT current_user")


def test_the_common_name_is_the_user(server, authority):
    assert who(server, authority, authority.issue("ann")) == "ann"
    assert who(server, authority, authority.issue("Zoë ../x")) == "Zoë ../x"


def test_credentials_come_before_the_certificate(server, authority):
    """An application's connection, used by one of its users."""
    options = {"username": "admin", "password": ADMIN_PASSWORD}
    assert who(server, authority, authority.issue("app"), **options) == "admin"


def test_no_certificate_and_a_strangers_are_refused(server, authority):
    for own in (None, Authority("strangers").issue("ann")):
        with pytest.raises(dbapi.Error):
            who(server, authority, own)


def test_the_alternative_name_by_setting(flags, authority, tmp_path):
    with Server(tmp_path / "data", *flags, "--tls-client-name", "san") as server:
        own = authority.issue("ann", x509.UniformResourceIdentifier("urn:app:billing"))
        assert who(server, authority, own) == "urn:app:billing"
        with pytest.raises(dbapi.Error) as refused:
            who(server, authority, authority.issue("ann"))
        assert adbc.code(refused.value) == "Unauthenticated"


def test_a_proxy_with_a_certificate_names_its_users(flags, authority, tmp_path):
    flags = (*flags, "--trust-user-header", "x-user")
    with Server(tmp_path / "data", *flags) as server:
        assert who(server, authority, authority.issue("proxy"), **{adbc.HEADER + "x-user": "bob"}) == "bob"
