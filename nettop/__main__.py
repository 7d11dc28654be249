"""`python -m nettop` is the command `nettop`."""

from nettop.cli import main

raise SystemExit(main())
