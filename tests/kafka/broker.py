"""A real Apache Kafka broker as a process on a free port: the tests' own, or any that LOOKOUT_TEST_KAFKA names.

Its jars come once from Maven Central, pinned by pom.xml, into the user's cache folder.
"""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import platformdirs
import pytest

VARIABLE = "LOOKOUT_TEST_KAFKA"
USER, PASSWORD = "alice", "alice-password"  # noqa: S105 - of the tests' own broker, gone with it
START_S, FETCH_S = 120, 600  # the machine may be busy, the network slow

_HERE = Path(__file__).parent
_POM = _HERE / "pom.xml"
_STARTED = "Kafka Server started"

_PROPERTIES = """
process.roles=broker,controller
node.id=1
listeners=PLAIN://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},TLS://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAIN://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},TLS://127.0.0.1:{tls}
listener.security.protocol.map=PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAIN
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
ssl.keystore.location={keystore}
ssl.keystore.password={password}
ssl.keystore.type=PKCS12
"""
_JAAS = "org.apache.kafka.common.security"
_PER_LISTENER = f"""
listener.name.{{0}}.plain.sasl.jaas.config={_JAAS}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
listener.name.{{0}}.scram-sha-256.sasl.jaas.config={_JAAS}.scram.ScramLoginModule required;
listener.name.{{0}}.scram-sha-512.sasl.jaas.config={_JAAS}.scram.ScramLoginModule required;
listener.name.{{0}}.oauthbearer.sasl.jaas.config={_JAAS}.oauthbearer.OAuthBearerLoginModule required;
listener.name.{{0}}.oauthbearer.sasl.server.callback.handler.class=\
{_JAAS}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler
"""


class Broker:
    """One broker; its data outlives `kill`, so that `start` continues on it."""

    def __init__(self, folder: Path) -> None:
        """Format an empty data folder; nothing runs before `start`."""
        self._folder = folder
        self._ports = dict(zip(("plain", "sasl", "tls", "controller"), _free_ports(4), strict=True))
        self._jars = jars()
        self._process: subprocess.Popen[str] | None = None
        self.certificate = folder / "broker.pem"
        self._format()

    @property
    def address(self) -> str:
        """Where clients connect without credentials."""
        return f"127.0.0.1:{self._ports['plain']}"

    @property
    def sasl_address(self) -> str:
        """Where clients must say who they are."""
        return f"127.0.0.1:{self._ports['sasl']}"

    @property
    def tls_address(self) -> str:
        """Where they must do so under the certificate in `certificate`."""
        return f"127.0.0.1:{self._ports['tls']}"

    def start(self) -> None:
        """Run until `stop` or `kill`; returns when it takes requests."""
        log4j = f"-Dlog4j2.configurationFile={_HERE / 'log4j2.yaml'}"
        self._process = subprocess.Popen(
            ["java", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", log4j, "-cp", f"{self._jars}/*",
             "kafka.Kafka", self._folder / "server.properties"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=self._folder)
        started = threading.Event()
        threading.Thread(target=self._drain, args=(self._process.stdout, started), daemon=True).start()
        if not started.wait(START_S) or self._process.poll() is not None:
            self.kill()
            pytest.fail("the broker did not start:\n" + (self._folder / "broker.log").read_text()[-2000:])

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)
        cast("subprocess.Popen[str]", self._process).wait()

    def stop(self) -> None:
        self._signal(signal.SIGTERM)
        try:
            cast("subprocess.Popen[str]", self._process).wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def _drain(self, pipe: IO[str], started: threading.Event) -> None:
        with pipe, (self._folder / "broker.log").open("a") as log:
            for line in pipe:
                log.write(line)
                log.flush()
                if _STARTED in line:
                    started.set()
        started.set()  # it has ended

    def _format(self) -> None:
        properties = self._folder / "server.properties"
        properties.write_text(self._properties())
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        _run("java", "-XX:TieredStopAtLevel=1", "-cp", f"{self._jars}/*", "kafka.tools.StorageTool", "format",
             f"--cluster-id={cluster}",  # joined: one in 64 begins with "-", which would be taken for an option
             "-c", properties, *self._format_options())

    def _properties(self) -> str:
        keystore = self._folder / "broker.p12"
        _run("keytool", "-genkeypair", "-alias", "broker", "-keyalg", "EC", "-dname", "CN=lookout test broker",
             "-ext", "SAN=ip:127.0.0.1", "-storetype", "PKCS12", "-keystore", keystore, "-storepass", PASSWORD)
        _run("keytool", "-exportcert", "-rfc", "-alias", "broker", "-keystore", keystore, "-storepass", PASSWORD,
             "-file", self.certificate)
        return (_PROPERTIES.format(**self._ports, data=self._folder / "data", keystore=keystore, password=PASSWORD)
                + "".join(_PER_LISTENER.format(name) for name in ("sasl", "tls")))

    def _format_options(self) -> list[str]:
        return ["--standalone", *(argument for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
                                  for argument in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]"))]


@contextmanager
def running_broker() -> Iterator[str]:
    """HOST:PORT of a broker, for whoever is no test: the one that the environment names, or one of our own."""
    if address := os.environ.get(VARIABLE):
        yield address
        return
    if reason := missing():
        sys.exit(f"{reason}; or name a broker in {VARIABLE}")
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder))
        broker.start()
        try:
            yield broker.address
        finally:
            broker.stop()


def missing() -> str:
    """What the tests' own broker wants and is not there; empty: nothing."""
    needed = ("java", "keytool") if _jars_folder().exists() else ("java", "keytool", "mvn")
    programs = [program for program in needed if not shutil.which(program)]
    return f"{' and '.join(programs)} not found: Java 17 and Maven bring the tests' Kafka" if programs else ""


def jars() -> Path:
    """The folder with the broker's jars, fetched where it is not there yet; skips the test where it cannot be."""
    folder = _jars_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes test at once; one fetches
        if not folder.exists():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
        try:
            _run("mvn", "-B", "-q", "-f", _POM, "dependency:copy-dependencies", f"-DoutputDirectory={fresh}/jars",
                 "-DincludeScope=runtime", timeout_s=FETCH_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"Maven cannot fetch Kafka's jars: {error}")
        Path(fresh, "jars").rename(folder)


def _jars_folder() -> Path:
    return Path(platformdirs.user_cache_dir("lookout")) / f"kafka-{zlib.crc32(_POM.read_bytes()):08x}"


def _run(*command: str | os.PathLike[str], timeout_s: float = START_S) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=timeout_s)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
