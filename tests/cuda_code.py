"""Hold the main loops of products that no network starts to their bounds, for every architecture.

python tests/cuda_code.py
"""

import os
import subprocess
import sys
from pathlib import Path

ARCHITECTURES = "80,90,100"
TESTS = Path(__file__).parent / "ops" / "test_cuda_code_bounds.py"

if __name__ == "__main__":
    environment = {**os.environ, "ARRAYCNN_ARCHITECTURES": ARCHITECTURES}
    command = [sys.executable, "-m", "pytest", "-q", str(TESTS)]
    raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)
