"""Blocks in Amaranth's simulator: running them, and the registers of a stage."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["deep_expressions", "read_register", "write_register"]


@contextmanager
def deep_expressions() -> Iterator[None]:
    """Amaranth compiles a table of four ways into expressions nested deeper than Python allows by default."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


async def write_register(ctx: Any, bus: Any, address: int, value: int) -> None:
    ctx.set(bus.address, address)
    ctx.set(bus.write_data, value)
    ctx.set(bus.access, 1)
    ctx.set(bus.write, 1)
    await ctx.tick()
    ctx.set(bus.access, 0)
    ctx.set(bus.write, 0)


async def read_register(ctx: Any, bus: Any, address: int) -> int:
    ctx.set(bus.address, address)
    ctx.set(bus.access, 1)
    ctx.set(bus.read, 1)
    await ctx.tick()
    ctx.set(bus.access, 0)
    ctx.set(bus.read, 0)
    return int(ctx.get(bus.read_data))
