"""k8s/ is built by the real kustomize, keeps everyone's schemas, and all that it names exists."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from operators.backends.tensorrt_engine import engine_folder
from operators.capture.source import parse
from pipeline import settings
from pipeline.cluster.run_stages import NAMES
from pipeline.topology import STAGES
from tests.deploy import kubernetes
from tests.deploy.composition import GRACE_S, OURS, RUNNING, SERVICES
from tests.deploy.dockerfile import last
from tests.deploy.kubernetes import Resource
from tests.deploy.names import PROJECT, ROOT, RULES, check_command

pytestmark = [pytest.mark.timeout(1000),  # the tools may have to be fetched and compiled first
              pytest.mark.skipif(bool(kubernetes.missing("go")), reason="go not found: it brings kustomize")]

BUILDS = ("base", "overlays/cpu", "overlays/dev", "overlays/gpu", "single")
WORKLOADS = {"Deployment", "StatefulSet", "Job"}
PORT = 9000
MISSPELT = (("ScaledObject", '"maxReplicaCount"', '"maxReplicas"'), ("ServiceMonitor", '"15s"', '"soon"'),
            ("PodDisruptionBudget", '"maxUnavailable": 1', '"most": 1'), ("PrometheusRule", '"expr"', '"query"'),
            ("StatefulSet", '"readOnlyRootFilesystem"', '"readOnlyRoot"'))


@functools.cache
def built(name: str) -> list[Resource]:
    return list(yaml.safe_load_all(kubernetes.build(ROOT / "k8s" / name)))


def resources(name: str, *kinds: str) -> dict[str, Resource]:
    """By name, those of the kinds that are asked for."""
    found = [one for one in built(name) if one["kind"] in kinds]
    named = {one["metadata"]["name"]: one for one in found}
    assert len(named) == len(found)
    return named


def with_schema(name: str) -> list[Resource]:
    """Those that kubeconform can check; Strimzi publishes classes instead."""
    return [one for one in built(name) if "strimzi" not in one["apiVersion"]]


def pods(name: str) -> dict[str, Resource]:
    return {workload: one["spec"]["template"] for workload, one in resources(name, *WORKLOADS).items()}


def ours(name: str) -> dict[str, Resource]:
    """The containers that run Lookout, by workload."""
    return {workload: container for workload, pod in pods(name).items()
            for container in pod["spec"]["containers"] if container["name"] == "lookout"}


def stages(name: str) -> dict[str, Resource]:
    """Those that run a stage, by the stage."""
    return {container["args"][1]: container for container in ours(name).values() if container["args"][0] == "run"}


def configuration(name: str) -> settings.LookoutSettings:
    (data,) = [one["data"] for one in resources(name, "ConfigMap").values()]
    (text,) = data.values()
    filled_in = settings.filled_in(yaml.safe_load(text), "$", {"GATE_LOGIN": "user:password"})
    return msgspec.convert(filled_in, settings.LookoutSettings)


@pytest.mark.parametrize("version", kubernetes.VERSIONS)
def test_all_of_it_keeps_the_schemas_and_misspelt_it_does_not(version: str) -> None:
    right = {json.dumps(one) for name in BUILDS for one in with_schema(name)}
    wrong = {json.dumps(one).replace(good, bad) for kind, good, bad in MISSPELT
             for one in resources("overlays/cpu", kind).values()}
    verdicts = kubernetes.conform([*right, *wrong], version)
    invalid = [verdict for verdict in verdicts if verdict["status"] != "statusValid"]
    assert len(verdicts) == len(right) + len(wrong)
    assert {verdict["status"] for verdict in invalid} == {"statusInvalid"}, invalid
    assert sorted((one["kind"], one["name"]) for one in invalid) == sorted(
        (one["kind"], one["metadata"]["name"]) for one in map(json.loads, wrong)), invalid


@pytest.mark.skipif(bool(kubernetes.missing("mvn", "java")), reason=kubernetes.missing("mvn", "java"))
def test_strimzi_understands_the_whole_cluster() -> None:
    given = list(resources("overlays/cpu", "Kafka", "KafkaNodePool", "KafkaTopic").values())
    misspelt = [{**given[0], "spec": {**given[0]["spec"], "partitons": 1}}, {**given[0], "apiVersion": "v0"}]
    *understood, unknown, old = kubernetes.read_by_strimzi(given + misspelt)
    assert [one["spec"] for one in understood] == [one["spec"] for one in given]
    assert '"partitons"' in unknown["refused"]
    assert old["refused"] == "no such version"


@pytest.mark.parametrize("name", BUILDS)
def test_a_pod_has_no_root_no_privileges_and_one_pinned_image(name: str) -> None:
    for workload, pod in pods(name).items():
        secured = pod["spec"]["securityContext"]
        assert secured["runAsNonRoot"]
        assert secured["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["spec"]["automountServiceAccountToken"]
        for container in pod["spec"]["containers"]:
            assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+(-gpu)?", container["image"])
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"]["memory"]
            if workload in ours(name):
                assert container["securityContext"]["readOnlyRootFilesystem"]
                assert str(secured["runAsUser"]) == last("cpu", "USER")
                assert container["image"].removesuffix("-gpu") == f"lookout:{PROJECT['version']}"


@pytest.mark.parametrize("name", BUILDS)
def test_its_commands_exist_and_read_the_configuration_that_is_mounted(name: str) -> None:
    ((file,),) = [one["data"] for one in resources(name, "ConfigMap").values()]
    for container in ours(name).values():
        given = check_command(container["args"])
        mounted = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        if given.get("config"):
            assert given["config"] == Path("/etc/lookout") / file
            assert mounted["/etc/lookout"]["readOnly"]
        if given.get("data"):
            assert str(given["data"]) in mounted
        assert "/tmp" in mounted  # noqa: S108 - the only other place that may be written


def test_each_stage_is_run_as_in_the_composition() -> None:
    for name in ("base", "overlays/dev"):
        assert stages(name).keys() == RUNNING.keys()
        for stage, service in RUNNING.items():
            assert stages(name)[stage]["args"] == [
                word.replace("cluster.yaml", "lookout.yaml") for word in service["command"]]
    assert stages("base").keys() == set(NAMES)


@pytest.mark.parametrize("name", BUILDS)
def test_probes_ask_for_pages_that_are_served(name: str) -> None:
    assert configuration(name).metrics == settings.MetricsSettings(host="0.0.0.0", port=PORT)  # noqa: S104
    health = (ROOT / "pipeline/health.py").read_text()
    asked = [container for container in ours(name).values() if container["args"][0] in {"run", "watch"}]
    assert asked
    for container in asked:
        assert {"name": "metrics", "containerPort": PORT} in container["ports"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == "metrics"
            assert f'"{container[probe]["httpGet"]["path"]}"' in health
    (service,) = [one for key, one in resources(name, "Service").items() if key == "lookout"]
    assert service["spec"]["ports"] == [{"name": "metrics", "port": PORT, "targetPort": "metrics"}]


@pytest.mark.parametrize("name", BUILDS)
def test_what_a_pod_refers_to_is_there_or_is_a_secret_of_the_users(name: str) -> None:
    claims = resources(name, "PersistentVolumeClaim")
    configs = resources(name, "ConfigMap")
    for workload, one in resources(name, *WORKLOADS).items():
        pod = one["spec"]["template"]["spec"]
        there = {volume["name"] for volume in pod.get("volumes", ())} | {
            claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", ())}
        for volume in pod.get("volumes", ()):
            assert volume.get("configMap", {"name": next(iter(configs))})["name"] in configs
            assert volume.get("persistentVolumeClaim", {"claimName": None})["claimName"] in {None, *claims}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= there, workload
            assert all(item["secretRef"]["name"].startswith("lookout-") for item in container.get("envFrom", ()))
    assert not resources(name, "Secret"), "secrets are the user's"


def test_each_stage_may_finish_its_batch_and_lies_on_several_nodes() -> None:
    for stage, pod in ((stage, pods("base")[stage]) for stage in stages("base")):
        assert pod["spec"]["terminationGracePeriodSeconds"] == GRACE_S
        for spread in pod["spec"]["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items(), stage
            assert set(spread["matchLabelKeys"]) <= pod["metadata"]["labels"].keys()


def selected(selector: dict[str, str]) -> set[str]:
    """The workloads whose pods a selector finds."""
    return {workload for workload, pod in pods("overlays/gpu").items()
            if selector.items() <= pod["metadata"]["labels"].items()}


def test_each_stage_has_a_disruption_budget_and_the_policies_say_who_speaks_to_whom() -> None:
    budgets = resources("overlays/gpu", "PodDisruptionBudget")
    assert {name: selected(one["spec"]["selector"]["matchLabels"]) for name, one in budgets.items()} == {
        stage: {stage} for stage in stages("base")}
    policies = resources("overlays/gpu", "NetworkPolicy")
    found = {name: selected(one["spec"]["podSelector"]["matchLabels"]) for name, one in policies.items()}
    assert found == {"lookout": {*stages("base"), "topics"}} | {name: {name} for name in found.keys() - {"lookout"}}
    brokers = {int(server.rpartition(":")[2]) for server in (configuration("base").kafka or pytest.fail()).servers}
    assert {port["port"] for rule in policies["lookout"]["spec"]["egress"] for port in rule["ports"]} == {53, *brokers}


def test_a_stage_grows_by_the_lag_of_its_own_group() -> None:
    wanted = configuration("overlays/cpu")
    lanes = {stage.lane.stage: stage.lane for stage in STAGES}
    scaled = resources("overlays/cpu", "ScaledObject")
    assert scaled.keys() == {"perceive", "fuse", "notify"}
    for name, one in scaled.items():
        assert one["spec"]["scaleTargetRef"]["name"] in resources("overlays/cpu", "Deployment")
        assert one["spec"]["maxReplicaCount"] <= wanted.log.partitions
        (trigger,) = one["spec"]["triggers"]
        assert trigger["type"] == "kafka"
        prefix = wanted.kafka.prefix if wanted.kafka else ""
        assert trigger["metadata"]["consumerGroup"] == prefix + name
        assert trigger["metadata"]["topic"] == prefix + lanes[name].consumes
        assert trigger["metadata"]["bootstrapServers"] == ",".join(wanted.kafka.servers if wanted.kafka else ())
        assert "replicas" not in resources("overlays/cpu", "Deployment")[name]["spec"], "KEDA says how many"


def test_prometheus_finds_every_stage_and_has_the_rules() -> None:
    (monitor,) = resources("overlays/cpu", "ServiceMonitor").values()
    (rules,) = resources("overlays/cpu", "PrometheusRule").values()
    service = resources("overlays/cpu", "Service")["lookout"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "lookout", "as the rules have it"
    assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == ["metrics"]
    assert selected(service["spec"]["selector"]) >= set(stages("base"))
    assert [rule for group in rules["spec"]["groups"] for rule in group["rules"]] == RULES


def test_evidence_is_served_where_its_links_lead_and_to_whoever_has_one() -> None:
    wanted = configuration("overlays/cpu").evidence
    assert wanted
    assert wanted.serve
    assert wanted.serve.base_url
    assert wanted.serve.secret_env == "EVIDENCE_SECRET"  # noqa: S105 - its name
    assert {"name": "links", "containerPort": wanted.serve.port} in stages("overlays/cpu")["evidence"]["ports"]
    service = resources("overlays/cpu", "Service")["evidence"]["spec"]
    policy = resources("overlays/cpu", "NetworkPolicy")["evidence"]["spec"]
    for selector in (service["selector"], policy["podSelector"]["matchLabels"]):
        assert selected(selector) == {"evidence"}
    assert [port["targetPort"] for port in service["ports"]] == ["links"]
    assert policy["ingress"] == [{"ports": [{"port": "links"}]}]


def test_brokers_are_where_the_configuration_says() -> None:
    kafka = configuration("overlays/cpu").kafka
    assert kafka
    (cluster,) = resources("overlays/cpu", "Kafka").items()
    (listener,) = cluster[1]["spec"]["kafka"]["listeners"]
    assert list(kafka.servers) == [f"{cluster[0]}-kafka-bootstrap:{listener['port']}"]
    (pool,) = resources("overlays/cpu", "KafkaNodePool").values()
    assert pool["spec"]["replicas"] == kafka.replication
    for one in (pool, *resources("overlays/cpu", "KafkaTopic").values()):
        assert one["metadata"]["labels"]["strimzi.io/cluster"] == cluster[0]
    image = SERVICES["kafka"]["image"]
    assert cluster[1]["spec"]["kafka"]["version"] == image.partition(":")[2]


def test_perceive_has_a_gpu_and_finds_the_engines_that_are_built_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    containers = {name: ours("overlays/gpu")[name] for name in ("engines", "perceive")}
    for container in containers.values():
        assert container["image"] == f"lookout:{PROJECT['version']}-gpu"
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        for variable in container["env"]:
            monkeypatch.setenv(variable["name"], variable["value"])
        (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "engines"]
        assert engine_folder().is_relative_to(mount["mountPath"])
    assert containers["engines"]["args"] == ["engines", "build", configuration("overlays/gpu").model]
    others = {name: one for name, one in ours("overlays/gpu").items() if name not in containers}
    assert others == {name: one for name, one in ours("overlays/cpu").items() if name not in containers}


def test_dev_is_what_the_composition_is() -> None:
    assert configuration("overlays/dev") == settings.load(ROOT / "deploy/cluster.yaml", {})
    variables = {item["name"]: item["value"]
                 for item in pods("overlays/dev")["kafka"]["spec"]["containers"][0]["env"]}
    composed = SERVICES["kafka"]["environment"]
    assert variables.keys() == composed.keys()
    for name, value in variables.items():
        assert name.endswith(("LISTENERS", "MAP")) or value == str(composed[name]), name
    for name in ("camera", "cameras"):
        assert ours("overlays/dev")[name]["args"] == [
            word.replace("cluster.yaml", "lookout.yaml") for word in OURS[name]["command"]]
    services = {name: {port["port"] for port in one["spec"]["ports"]}
                for name, one in resources("overlays/dev", "Service").items()}
    kafka, camera = configuration("overlays/dev").kafka, urlsplit(parse(ours("overlays/dev")["cameras"]["args"][2]).url)
    assert kafka
    for address in (*kafka.servers, camera.netloc):
        host, _, port = address.partition(":")
        assert int(port) in services[host]


@pytest.mark.parametrize("path", sorted(ROOT.glob("k8s/**/*.yaml")), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_comments_tell_to_run_exists_and_every_file_is_used(path: Path) -> None:
    text = re.sub(r" \\\n#\s+", " ", path.read_text())
    for command in re.findall(r"^#.*/bin/lookout (.*)$", text, re.MULTILINE):
        check_command([word.strip("'") for word in command.split()])
    for folder in re.findall(r"^#.*apply -k (\S+)$", text, re.MULTILINE):
        assert folder.removeprefix("k8s/") in BUILDS
    if path.name != "kustomization.yaml":
        assert re.search(rf"\b{path.name}\b", (path.parent / "kustomization.yaml").read_text())


def test_the_variables_that_secrets_are_to_hold_are_those_that_are_asked_for() -> None:
    text = "".join(path.read_text() for path in sorted(ROOT.glob("k8s/**/*.yaml")))
    told = set(re.findall(r"(?:--from-literal=|# )([A-Z][A-Z_]+)=", text))
    assert told == set(re.findall(r"\$\{([A-Z_]+)\}", text)) | set(re.findall(r"secret_env: (\w+)", text))
    assert [webhook.secret_env for webhook in configuration("base").webhooks] == ["GUARD_SECRET"]
    refers = {stage: [item["secretRef"]["name"] for item in container.get("envFrom", ())]
              for stage, container in stages("base").items()}
    assert {stage: names for stage, names in refers.items() if names} == {
        "capture": ["lookout-cameras"], "deliver": ["lookout-receivers", "lookout-evidence"],
        "evidence": ["lookout-evidence"]}
