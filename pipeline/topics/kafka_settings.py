"""Where the Kafka cluster is, and how to be let in."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from operators.base import Settings

Server = Annotated[str, Meta(pattern=r"^[^\s:/@]+:\d{1,5}$", description="HOST:PORT")]


class TlsSettings(Settings, frozen=True, kw_only=True):
    """How the connection is encrypted."""

    ca_file: Annotated[str | None, Meta(description="PEM file of who vouches for brokers; null: the system's")] = None
    certificate_file: Annotated[str | None, Meta(description="PEM file of our own certificate")] = None
    key_file: Annotated[str | None, Meta(description="PEM file of its key, where it is not in certificate_file")] = None
    check_hostname: Annotated[bool, Meta(description="the certificate must name the host")] = True


class SaslSettings(Settings, frozen=True, kw_only=True):
    """Who we are. The secret comes from the environment or a file, never from the configuration itself."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
    username: Annotated[str | None, Meta(description="not for OAUTHBEARER")] = None
    secret_env: Annotated[str | None, Meta(description="environment variable with the password or token")] = None
    secret_file: Annotated[str | None, Meta(description=(
        "file with the password or token; a token is read again for every connection"))] = None


class KafkaSettings(Settings, frozen=True, kw_only=True):
    """The cluster, and what the log asks of it."""

    servers: Annotated[tuple[Server, ...], Meta(min_length=1, description="brokers to begin with")]
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,100}$", description=(
        "begins the name of every topic, group and transaction, so that a cluster may be shared"))] = ""
    replication: Annotated[Annotated[int, Meta(ge=1, le=32)] | None, Meta(description=(
        "copies of every new topic; null: as the cluster has it"))] = None
    tls: TlsSettings | None = None
    sasl: SaslSettings | None = None
    session_timeout_s: Annotated[float, Meta(ge=1, le=300, description=(
        "a process that shows no life for so long loses its partitions; a group waits no longer for it"))] = 10.0
    batch_timeout_s: Annotated[float, Meta(ge=1, le=3600, description=(
        "so does one that is busy with a single batch for so long"))] = 120.0
    transaction_timeout_s: Annotated[float, Meta(ge=1, le=900, description=(
        "what a dead process was writing is given up after so long, and after as long as the brokers' "
        "transaction.abort.timed.out.transaction.cleanup.interval.ms, 10 s; readers wait for it"))] = 10.0
    request_timeout_s: Annotated[float, Meta(ge=0.5, le=300, description="how long brokers may take to answer")] = 15.0
