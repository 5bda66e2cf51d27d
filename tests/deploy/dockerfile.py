"""What deploy/Dockerfile says, stage by stage."""

from __future__ import annotations

import re

from tests.deploy.names import DEPLOY

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Stage -> what it begins from, and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", "")
    for line in filter(None, text.splitlines()):
        instruction, _, arguments = line.partition(" ")
        if instruction == "FROM":
            base, _, name = arguments.partition(" AS ")
            found[name] = base, []
        else:
            found[name][1].append((instruction, arguments.strip()))
    return found


def instructions(stage: str) -> list[tuple[str, str]]:
    """Those of a stage after those of the stages that it begins from."""
    base, own = stages()[stage]
    return (instructions(base) if base in stages() else []) + own


def last(stage: str, instruction: str) -> str:
    return [arguments for name, arguments in instructions(stage) if name == instruction][-1]
