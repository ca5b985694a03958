"""Makers of good inputs that other tests have: imported first, for where they are."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / part) for part in ("report", "export", "data/prepare")]
