"""`python -m tests.benchmarks`: every benchmark, one table each, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
    subprocess.run([sys.executable, "-m", f"tests.benchmarks.{path.stem}"], check=True)
