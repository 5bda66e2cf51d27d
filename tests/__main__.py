"""`python -m tests`: everything CI checks, with one command. Arguments go to pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent  # the checks of this very environment
# Two at a time: most tests wait for servers more than they compute. A file stays together, and so do its fixtures.
PYTEST = ("pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
CHECKS = (("ruff", "check", "."), ("mypy",), ("lint-imports",), (*PYTEST, *sys.argv[1:]))


def main() -> int:
    """Run every check, the cheap ones first; stop at the first that fails."""
    for program, *arguments in CHECKS:
        print("+", program, *arguments, flush=True)
        if code := subprocess.run([BIN / program, *arguments], check=False, cwd=ROOT).returncode:
            return code
    return 0


sys.exit(main())
