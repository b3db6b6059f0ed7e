"""`python -m elt_assets`: the same command as the installed `elt-assets` script."""

from __future__ import annotations

from elt_assets.cli.main import main

if __name__ == "__main__":
    main()
