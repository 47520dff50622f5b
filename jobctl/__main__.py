"""``python -m jobctl``."""

from __future__ import annotations

from jobctl.cli.main import main

if __name__ == "__main__":
    main()
