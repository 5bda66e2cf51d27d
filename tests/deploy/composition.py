"""What deploy/compose.yaml says."""

from __future__ import annotations

from typing import Any

import yaml

from tests.deploy.names import DEPLOY

COMPOSE = (DEPLOY / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("lookout:")}
RUNNING = {service["command"][1]: service for service in OURS.values() if service["command"][0] == "run"}
GRACE_S = 60  # a stage may take to end, which it does sooner
