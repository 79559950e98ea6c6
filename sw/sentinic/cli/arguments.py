"""Kinds of arguments that commands share."""

import argparse
from pathlib import Path


def path_of(text: str) -> Path:
    """A path; not the empty one, which would read as the present folder."""
    if not text:
        raise argparse.ArgumentTypeError("must be a path, not ''")
    return Path(text)
