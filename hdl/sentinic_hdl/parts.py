"""Parts that a design holds many of, alike: written out once and instantiated."""

from amaranth.hdl import ClockSignal, Instance, ResetSignal, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In


class Parts:
    """What :func:`part` has found while a design was elaborated with this as its platform.

    Members
    -------
    found: the parts by their module's name, each to be converted by itself
    """

    def __init__(self) -> None:
        self.found: dict[str, wiring.Component] = {}


def part(platform: object, name: str, component: wiring.Component, clock: ValueLike | None = None) -> object:
    """What to add as the submodule: ``component`` itself, or an instance of the module ``name``.

    All components of one name must elaborate to the same; what differs comes in by their ports.  ``clock`` is theirs
    if not the clock of those around, and only an instance can have one.
    """
    if not isinstance(platform, Parts):
        assert clock is None
        return component
    if platform.found.setdefault(name, component) is not component:
        # Amaranth warns of components that are made and never elaborated.
        component._MustUse__used = True
    ports = {}
    for path, member, value in component.signature.flatten(component):
        ports[f"{'i' if member.flow == In else 'o'}_{'__'.join(map(str, path))}"] = value
    return Instance(name, i_clk=ClockSignal() if clock is None else clock, i_rst=ResetSignal(), **ports)
