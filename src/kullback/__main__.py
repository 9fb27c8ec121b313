"""`python -m kullback` is the command line."""

import sys

from kullback.cli import main

sys.exit(main())
