"""The log's topics on a Kafka cluster: made as wanted, and compared with what is wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from operators.errors import LogUnavailable, SettingsError
from pipeline.topics.base import TopicSettings
from pipeline.topics.kafka_client import client_options, connected
from pipeline.topics.kafka_errors import translating
from pipeline.topics.kafka_settings import KafkaSettings

STATE = TopicSettings("state", partitions=8, compacted=True)  # of every store: see kafka_reader.KafkaStates
OVERHEAD_BYTES = 4096  # of a record in Kafka's format, its headers' lengths included

_MAX_FILE_BYTES = 2**30
_LOOK_S = 0.02  # between two looks at whether a configuration is taken
_FILES = 8  # a partition is kept in about so many files; old ones go as a whole


@dataclass(frozen=True)
class Drift:
    """One thing about a topic that is not as wanted."""

    topic: str
    what: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} is {self.found}, wanted {self.wanted}"


def wanted_config(topic: TopicSettings) -> dict[str, str]:
    """The configuration of a topic, by Kafka's names."""
    partition_bytes = topic.retention_bytes // topic.partitions
    max_bytes = topic.max_record_bytes + OVERHEAD_BYTES
    file_bytes = min(_MAX_FILE_BYTES, max(partition_bytes // _FILES, 2**20, max_bytes))
    config = {"compression.type": topic.compression or "uncompressed", "max.message.bytes": str(max_bytes)}
    if topic.compacted:  # often, so that a restarted process has little to read
        return config | {"cleanup.policy": "compact", "segment.bytes": str(min(file_bytes, max(2**24, max_bytes))),
                         "segment.ms": "600000", "min.cleanable.dirty.ratio": "0.2"}
    return config | {"cleanup.policy": "delete", "retention.ms": str(round(topic.retention_s * 1000)),
                     "retention.bytes": str(partition_bytes), "segment.bytes": str(file_bytes),
                     "segment.ms": str(max(60_000, round(topic.retention_s * 1000 / _FILES)))}


@dataclass(frozen=True)
class _Found:
    """A topic as it is."""

    partitions: int
    replication: int
    config: Mapping[str, str]


class KafkaTopics:
    """Asks and tells the cluster about topics; threads may share it."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Nothing is connected before it is needed."""
        self._settings = settings
        self._lock = threading.Lock()
        self._client: KafkaAdminClient | None = None
        self._partitions: dict[str, int] = {}
        self._limits: dict[str, int] = {}

    def ensure(self, topics: Sequence[TopicSettings]) -> None:
        """See `Log.ensure`."""
        found = self._found(topics)
        for topic in topics:
            if topic.name in found and found[topic.name].partitions != topic.partitions:
                message = f"topic {topic.name} has {found[topic.name].partitions} partitions, not {topic.partitions}"
                raise SettingsError(message)
        missing = {self._full(topic.name): {"num_partitions": topic.partitions, "configs": wanted_config(topic),
                                            "replication_factor": self._settings.replication or -1}
                   for topic in topics if topic.name not in found}
        changed = {topic.name: wanted for topic in topics if topic.name in found
                   and (wanted := _differing(wanted_config(topic), found[topic.name].config))}
        with self._admin("topics") as admin:
            if missing:
                with suppress(TopicAlreadyExistsError):  # another process was faster, and it wants the same
                    admin.create_topics(missing)
                admin.wait_for_topics(list(missing))
            if changed:
                admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, self._full(name), wanted)
                                     for name, wanted in changed.items()])
        self._wait_until_taken(changed)
        self._limits.clear()

    def wanted(self, topic: TopicSettings) -> dict[str, str]:
        """Everything that is wanted of a topic, by Kafka's names."""
        replication = {"replication": str(self._settings.replication)} if self._settings.replication else {}
        return {"partitions": str(topic.partitions), **replication, **wanted_config(topic)}

    def drift(self, topics: Sequence[TopicSettings]) -> list[Drift]:
        """How the cluster's topics differ from `topics`; empty: not at all."""
        found = self._found(topics)
        drifts = []
        for topic in topics:
            if topic.name not in found:
                drifts.append(Drift(topic.name, "the topic", "there", "missing"))
                continue
            there = found[topic.name]
            have = {"partitions": str(there.partitions), "replication": str(there.replication), **there.config}
            drifts += [Drift(topic.name, what, value, have.get(what, "not set"))
                       for what, value in self.wanted(topic).items() if have.get(what) != value]
        return drifts

    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has; LogError where there is no such topic."""
        if topic not in self._partitions:
            with self._admin(f"topic {topic}") as admin:
                [told] = admin.describe_topics([self._full(topic)])
                if error := told["error_code"]:
                    raise for_code(error)(topic)
            self._partitions[topic] = len(told["partitions"])
        return self._partitions[topic]

    def max_record_bytes(self, topic: str, *, asked_again: bool = False) -> int:
        """The size of the largest record that `topic` takes, as it was when first asked, or is now."""
        self.partitions(topic)
        if topic not in self._limits or asked_again:
            self._limits[topic] = int(self._configs([topic])[topic]["max.message.bytes"]) - OVERHEAD_BYTES
        return self._limits[topic]

    def ends(self, topic: str, partitions: Iterable[int] | None = None) -> dict[int, tuple[int, int]]:
        """Per partition the first kept offset and the next one to be written, by whichever transaction."""
        at = [TopicPartition(self._full(topic), partition)
              for partition in partitions or range(self.partitions(topic))]
        with self._admin(f"topic {topic}") as admin:
            first, following = (admin.list_partition_offsets(dict.fromkeys(at, which))
                                for which in (OffsetSpec.EARLIEST, OffsetSpec.LATEST))
        return {one.partition: (first[one].offset, following[one].offset) for one in at}

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._client:
                self._client.close()
                self._client = None

    def _full(self, name: str) -> str:
        return self._settings.prefix + name

    @contextmanager
    def _admin(self, what: str) -> Iterator[KafkaAdminClient]:
        """The client for one thread at a time, connected when first used."""
        with translating(f"Kafka at {', '.join(self._settings.servers)}: {what}"), self._lock:
            if self._client is None:
                self._client = connected(KafkaAdminClient, client_options(self._settings))
            yield self._client

    def _found(self, topics: Sequence[TopicSettings]) -> dict[str, _Found]:
        with self._admin("topics") as admin:
            told = {item["name"]: item for item in admin.describe_topics([self._full(topic.name) for topic in topics])}
        there = {topic.name: told[self._full(topic.name)]["partitions"] for topic in topics
                 if for_code(told[self._full(topic.name)]["error_code"]) is not UnknownTopicOrPartitionError}
        configs = self._configs(list(there)) if there else {}
        return {name: _Found(len(partitions), len(partitions[0]["replica_nodes"]), configs[name])
                for name, partitions in there.items()}

    def _wait_until_taken(self, changed: Mapping[str, Mapping[str, str]]) -> None:
        """A new configuration is with the controller first; brokers go by the old one for a moment."""
        deadline_s = time.monotonic() + self._settings.request_timeout_s
        while changed:
            configs = self._configs(list(changed))
            if not any(_differing(wanted, configs[name]) for name, wanted in changed.items()):
                return
            if time.monotonic() >= deadline_s:
                message = f"topics {', '.join(changed)}: the cluster does not take the new configuration"
                raise LogUnavailable(message)
            time.sleep(_LOOK_S)

    def _configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        asked = [ConfigResource(ConfigResourceType.TOPIC, self._full(topic)) for topic in topics]
        with self._admin("topics") as admin:
            told = admin.describe_configs(asked, config_filter="all")["topic"]
        return {topic: {key: item["value"] for key, item in told[self._full(topic)].items()} for topic in topics}


def _differing(wanted: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in wanted.items() if found.get(key) != value}
