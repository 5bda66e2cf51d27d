"""How every client of the Kafka cluster is made: addresses, encryption, credentials."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kafka.errors import KafkaError, KafkaTimeoutError, SaslAuthenticationFailedError
from kafka.net.sasl.oauth import AbstractTokenProvider
from typing_extensions import override

from operators.errors import SettingsError
from pipeline.topics.kafka_settings import KafkaSettings, SaslSettings, TlsSettings

Client = TypeVar("Client")


class _Refusals(logging.Filter):
    """Keeps why connecting failed: kafka-python tries again until its time is over, and tells only its log.

    A broker that refuses credentials also hangs up, and only sometimes the refusal is read first: it counts.
    """

    last: KafkaError | None = None

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        for item in record.args if isinstance(record.args, tuple) else ():
            if (isinstance(item, KafkaError) and not isinstance(item, KafkaTimeoutError)
                    and not isinstance(self.last, SaslAuthenticationFailedError)):
                self.last = item
        return False


_refusals = _Refusals()
logging.getLogger("kafka").setLevel(logging.CRITICAL)  # its errors reach us as exceptions; at DEBUG it logs passwords
logging.getLogger("kafka.net.manager").setLevel(logging.WARNING)
logging.getLogger("kafka.net.manager").addFilter(_refusals)


def connected(kind: Callable[..., Client], options: dict[str, Any]) -> Client:
    """A client that is connected.

    Raises:
        KafkaError: nobody answers, or we are not let in.
    """
    _refusals.last = None
    try:
        return kind(**options)
    except KafkaTimeoutError:
        if _refusals.last is not None:
            raise _refusals.last from None
        raise


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """What every client of the cluster is made with.

    Raises:
        SettingsError: a secret or certificate is missing; names the field, never the secret.
    """
    request_timeout_ms = round(settings.request_timeout_s * 1000)
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.servers), "client_id": "lookout", "request_timeout_ms": request_timeout_ms,
        "bootstrap_timeout_ms": request_timeout_ms, "reconnect_backoff_max_ms": 1000}
    if settings.tls:
        options["ssl_context"] = _tls_context(settings.tls)
    if settings.sasl:
        options |= _sasl_options(settings.sasl)
    options["security_protocol"] = {(False, False): "PLAINTEXT", (True, False): "SSL", (False, True): "SASL_PLAINTEXT",
                                    (True, True): "SASL_SSL"}[
                                        settings.tls is not None, settings.sasl is not None]
    return options


class _Token(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """Gives the token as it is now: whoever renews it writes the file."""

    def __init__(self, settings: SaslSettings) -> None:
        super().__init__()
        self._settings = settings

    @override
    def token(self) -> str:
        return _secret(self._settings)


def _sasl_options(settings: SaslSettings) -> dict[str, Any]:
    secret = _secret(settings)  # now, so that a missing one is told at once
    if settings.mechanism == "OAUTHBEARER":
        return {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": _Token(settings)}
    if settings.username is None:
        message = f"kafka.sasl.username: {settings.mechanism} needs one"
        raise SettingsError(message)
    return {"sasl_mechanism": settings.mechanism, "sasl_plain_username": settings.username,
            "sasl_plain_password": secret}


def _secret(settings: SaslSettings) -> str:
    if (settings.secret_env is None) == (settings.secret_file is None):
        message = "kafka.sasl: exactly one of secret_env and secret_file is needed"
        raise SettingsError(message)
    if settings.secret_env is not None:
        if not (secret := os.environ.get(settings.secret_env)):
            message = f"kafka.sasl.secret_env: the environment has no {settings.secret_env}"
            raise SettingsError(message)
        return secret
    try:
        return Path(settings.secret_file or "").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"kafka.sasl.secret_file: {settings.secret_file} cannot be read"
        raise SettingsError(message) from error


def _tls_context(settings: TlsSettings) -> ssl.SSLContext:
    field = "ca_file"
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.certificate_file:
            field = "certificate_file"
            context.load_cert_chain(settings.certificate_file, settings.key_file)
    except OSError as error:  # an SSLError is one
        message = f"kafka.tls.{field}: {error.strerror or error}"
        raise SettingsError(message) from error
    context.check_hostname = settings.check_hostname
    return context
