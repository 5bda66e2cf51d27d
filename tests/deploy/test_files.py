"""Configuration files in deploy/ and k8s/ are ones that Lookout takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import settings
from tests.deploy.names import DEPLOY, ROOT

LOGINS = {"GATE_LOGIN": "user:password"}
CONFIGS = [DEPLOY / "cameras.example.yaml", DEPLOY / "cluster.yaml", *ROOT.glob("k8s/**/lookout.yaml"),
           *ROOT.glob("k8s/**/cameras.yaml")]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_configuration_is_one_that_lookout_takes(path: Path) -> None:
    assert settings.load(path, LOGINS) != settings.LookoutSettings()
