"""``python -m sentinic``."""

import sys

from sentinic.cli import main

sys.exit(main())
