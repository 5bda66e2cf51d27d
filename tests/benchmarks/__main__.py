"""`python -m tests.benchmarks`: every benchmark, one table each."""

from __future__ import annotations

import runpy
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
    runpy.run_module(f"tests.benchmarks.{path.stem}", run_name="__main__")
