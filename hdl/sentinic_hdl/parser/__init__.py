"""The header parser, in two schedules of one set of header steps."""

from .collect import ParsedFrame
from .parser import Parser

__all__ = ["ParsedFrame", "Parser"]
