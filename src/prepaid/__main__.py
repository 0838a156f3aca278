"""``python -m prepaid`` is ``prepaid``."""

from __future__ import annotations

from prepaid.cli import main

if __name__ == "__main__":
    main()
