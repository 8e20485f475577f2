"""Where things lie in the checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EGS = ROOT / "egs"
TEMPLATE = EGS / "TEMPLATE/ser1"
