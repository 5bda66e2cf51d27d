"""Getting into a Kafka cluster: encryption, credentials, and what is said when it fails."""

from __future__ import annotations

import base64
import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from operators.errors import LogError, LogUnavailable, SettingsError
from pipeline.topics.base import TopicSettings
from pipeline.topics.kafka_client import client_options
from pipeline.topics.kafka_log import KafkaLog
from pipeline.topics.kafka_settings import KafkaSettings, SaslSettings, TlsSettings
from tests.contracts.logs import append, everything, values
from tests.kafka.broker import PASSWORD, USER, Broker

pytestmark = [  # kafka-python leaves the sockets of failed connections to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TOPIC = TopicSettings("in", partitions=1)
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")


def token() -> str:
    """An unsigned JSON web token, which the tests' broker is told to believe."""
    now_s = int(time.time())
    parts = ({"alg": "none"}, {"sub": USER, "iat": now_s, "exp": now_s + 600})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test leaves open is closed before the next one."""
    yield
    gc.collect()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def settings(address: str, sasl: SaslSettings | None = None, tls: TlsSettings | None = None) -> KafkaSettings:
    return KafkaSettings(servers=(address,), prefix=f"access-{uuid4().hex}.", sasl=sasl, tls=tls, request_timeout_s=5)


def works(where: KafkaSettings) -> bool:
    """Whether a record gets in and out again."""
    log = KafkaLog(where)
    try:
        log.ensure([TOPIC])
        append(log, "in", [("cam", b"1")])
        return values(everything(log, "in")) == [b"1"]
    finally:
        log.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism_lets_us_in(kafka_broker: Broker, secret: Path, mechanism: str) -> None:
    secret.write_text((token() if mechanism == "OAUTHBEARER" else PASSWORD) + "\n")
    username = None if mechanism == "OAUTHBEARER" else USER
    assert works(settings(kafka_broker.sasl_address, SaslSettings(
        mechanism=mechanism, username=username, secret_file=str(secret))))  # type: ignore[arg-type]


def test_encrypted_and_from_the_environment(kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    sasl = SaslSettings(mechanism="SCRAM-SHA-512", username=USER, secret_env="KAFKA_PASSWORD")  # noqa: S106
    assert works(settings(kafka_broker.tls_address, sasl, TlsSettings(ca_file=str(kafka_broker.certificate))))


def test_a_broker_nobody_vouches_for_is_refused(kafka_broker: Broker, secret: Path) -> None:
    secret.write_text(PASSWORD)
    sasl = SaslSettings(mechanism="PLAIN", username=USER, secret_file=str(secret))
    with pytest.raises(LogError):
        works(settings(kafka_broker.tls_address, sasl, TlsSettings()))


@pytest.mark.long  # on a busy machine kafka-python's last try may end before the refusal comes, and is all that is told
def test_a_wrong_password_is_told_in_one_line_without_it(kafka_broker: Broker, secret: Path) -> None:
    secret.write_text("not-the-password")
    sasl = SaslSettings(mechanism="SCRAM-SHA-256", username=USER, secret_file=str(secret))
    with pytest.raises(LogError, match="refuses our credentials") as caught:
        works(settings(kafka_broker.sasl_address, sasl))
    assert not isinstance(caught.value, LogUnavailable)  # trying again cannot help
    assert "\n" not in str(caught.value)
    assert "not-the-password" not in str(caught.value)


def test_what_is_not_allowed_is_told(kafka_broker: Broker, secret: Path) -> None:
    secret.write_text(PASSWORD)
    sasl = SaslSettings(mechanism="PLAIN", username=USER, secret_file=str(secret))
    where = settings(kafka_broker.sasl_address, sasl)
    log = KafkaLog(where)
    log.ensure([TOPIC])
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.address)
    admin.create_acls([ACL(f"User:{USER}", "*", ACLOperation.WRITE, ACLPermissionType.DENY,
                           ResourcePattern(ResourceType.TOPIC, f"{where.prefix}in"))])
    admin.close()
    with pytest.raises(LogError, match="does not allow it") as caught:
        append(log, "in", [("cam", b"1")])
    assert not isinstance(caught.value, LogUnavailable)
    log.close()


def test_nobody_there_is_told_in_one_line() -> None:
    log = KafkaLog(KafkaSettings(servers=("127.0.0.1:1",), request_timeout_s=0.5))
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1.*does not answer") as caught:
        log.partitions("in")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("sasl", "named"), [
    (SaslSettings(mechanism="PLAIN", username="u"), "secret_env and secret_file"),
    (SaslSettings(mechanism="PLAIN", username="u", secret_env="A", secret_file="b"), "secret_env and"),  # noqa: S106
    (SaslSettings(mechanism="PLAIN", username="u", secret_env="NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE"),  # noqa: S106
    (SaslSettings(mechanism="PLAIN", username="u", secret_file="/nowhere/secret"), "/nowhere/secret"),  # noqa: S106
])
def test_missing_secrets_are_named(sasl: SaslSettings, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        client_options(settings("localhost:9092", sasl))


def test_a_user_without_a_name_and_certificates_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    with pytest.raises(SettingsError, match="username"):
        client_options(settings("localhost:9092", SaslSettings(mechanism="PLAIN",
                                                               secret_file=str(tmp_path / "secret"))))
    with pytest.raises(SettingsError, match="ca_file"):
        client_options(settings("localhost:9092", tls=TlsSettings(ca_file=str(tmp_path / "nothing"))))
    with pytest.raises(SettingsError, match="certificate_file"):
        client_options(settings("localhost:9092", tls=TlsSettings(certificate_file=str(tmp_path / "nothing"))))
