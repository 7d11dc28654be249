#!/usr/bin/python3 -I
"""Start nettop with the libraries that came with it, then those of Debian; of users none (-I)."""

import sys

sys.path.insert(0, "/usr/lib/nettop")

from nettop.__main__ import main

sys.exit(main())
