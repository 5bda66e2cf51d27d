"""What Kubernetes' manifests are built and checked with, all pinned: kustomize, kubeconform, and everyone's schemas.

They come once, from where Go's and Maven's clients get modules and artifacts, into the user's cache folder. The schemas
of Kubernetes itself are a Python package; those of KEDA and the Prometheus Operator lie in their Go modules.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import yaml

TOOLS = {"kustomize": "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1",
         "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"}
CRDS = {"github.com/kedacore/keda/v2@v2.21.0": ("config/crd/bases/keda.sh_scaledobjects.yaml",),
        "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml")}
VERSIONS = ("1.30.0", "1.37.0")  # of Kubernetes, the oldest and the newest
POM = Path(__file__).parent / "strimzi/pom.xml"
FETCH_S, RUN_S = 900, 120

Resource = dict[str, Any]


def missing(*programs: str) -> str:
    """Which of these is not there; empty: none."""
    lacking = [program for program in programs if not shutil.which(program)]
    return f"{' and '.join(lacking)} not found" if lacking else ""


def tool(name: str) -> Path:
    """The program, compiled where it is not there yet."""
    program = _folder() / "bin" / name
    if not program.exists():
        _fetch("go", "install", TOOLS[name], GOBIN=str(program.parent))
    return program


def strimzi() -> Path:
    """The folder of the jars with Strimzi's classes."""
    jars = _folder() / "strimzi"
    if not jars.exists():
        with tempfile.TemporaryDirectory(dir=jars.parent) as fresh:
            _fetch("mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={fresh}/jars")
            Path(fresh, "jars").rename(jars)
    return jars


def schemas() -> Path:
    """A folder of strict JSON schemas: of Kubernetes by version, and of the kinds of operators that we use."""
    folder = _folder() / "schemas"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
            (made := Path(fresh, "schemas")).mkdir()
            for version in VERSIONS:
                _relate(version, made / f"v{version}")
            for module, names in CRDS.items():
                source = Path(json.loads(_fetch("go", "mod", "download", "-json", module))["Dir"])
                for name in names:
                    _convert(yaml.safe_load((source / name).read_text())["spec"], made)
            made.rename(folder)
    return folder


def build(folder: Path) -> str:
    """What `kubectl apply -k` would apply."""
    return _run(tool("kustomize"), "build", folder)


def conform(resources: Iterable[str], version: str) -> list[Resource]:
    """What kubeconform has to say of each, given as JSON, in a Kubernetes of this version."""
    templates = ("{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json",
                 "{{.ResourceKind}}_{{.ResourceAPIVersion}}.json")
    locations = [word for template in templates for word in ("-schema-location", f"{schemas()}/{template}")]
    arguments = ["-output", "json", "-verbose", "-kubernetes-version", version, *locations, "-"]
    given = "\n---\n".join(resources)
    done = subprocess.run([tool("kubeconform"), *arguments], input=given, capture_output=True, text=True, check=False,
                          timeout=RUN_S)
    return list(json.loads(done.stdout)["resources"])


def read_by_strimzi(resources: Iterable[Resource]) -> list[Resource]:
    """Each as Strimzi's classes understand it, or why they do not, under `refused`."""
    written = _run("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{strimzi()}/*",
                   POM.parent / "Strict.java", given="\n".join(map(json.dumps, resources)))
    return [json.loads(line) for line in written.splitlines()]


def _relate(version: str, folder: Path) -> None:
    """Schemas of Kubernetes that refer to each other where they lie, and not where they are published."""
    package = find_spec("kubernetes_validate")
    if package is None or package.origin is None:
        pytest.skip("no kubernetes-validate: pip install 'lookout[test]'")
    folder.mkdir()
    for path in Path(package.origin).parent.glob(f"kubernetes-json-schema/v{version}-local-strict/*.json"):
        schema = json.loads(path.read_text().replace('"/api/_definitions.json#', '"_definitions.json#'))
        schema.pop("$id", None)
        (folder / path.name).write_text(json.dumps(schema))


def _convert(crd: dict[str, Any], folder: Path) -> None:
    for version in crd["versions"]:
        name = f"{crd['names']['kind'].lower()}_{version['name']}.json"
        (folder / name).write_text(json.dumps(_strict(version["schema"]["openAPIV3Schema"])))


def _strict(schema: Any) -> Any:
    """The same, and a key that is not named is an error, as it is to kubectl."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = ("properties" in schema and schema.get("type") == "object" and "additionalProperties" not in schema
              and not schema.get("x-kubernetes-preserve-unknown-fields"))
    return {key: _strict(value) for key, value in schema.items()} | ({"additionalProperties": False} if closed else {})


def _folder() -> Path:
    pinned = json.dumps([TOOLS, VERSIONS, {module: list(names) for module, names in CRDS.items()}]) + POM.read_text()
    return Path(platformdirs.user_cache_dir("lookout")) / f"kubernetes-{zlib.crc32(pinned.encode()):08x}"


def _fetch(*command: str, **environment: str) -> str:
    """Run it, one test process at a time; the test is skipped where it fails, as it does without a network."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return _run(*command, timeout_s=FETCH_S, **environment)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"{' '.join(command[:3])} did not succeed: {error}")


def _run(*command: str | Path, given: str | None = None, timeout_s: float = RUN_S, **environment: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s, input=given,
                          env=os.environ | environment).stdout
