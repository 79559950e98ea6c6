"""Tasks that are asked often.  ``every`` is in ns of wire time, 0 for one answer at the end."""

from sentinic.monitor.statistics.tasks import Count, Distinct, Sum, Task, TopK

SECOND = 10**9
#: SYN without ACK: the first packet of a TCP connection.
OPENING = {"tcp_flags": "0x02/0x12"}


def fan_out(*, every: int = 10 * SECOND, threshold: int | None = None, name: str = "fan-out") -> Task:
    """Different destinations of each source."""
    return Task(name, group=["source"], measure=Distinct("destination"), every=every, threshold=threshold)


def port_distribution(*, every: int = 10 * SECOND, name: str = "ports") -> Task:
    """Packets to each port of each protocol."""
    return Task(name, group=["ip_proto", "destination_port"], measure=Count(), every=every)


def connection_sizes(*, every: int = 0, top: int | None = None, name: str = "connections") -> Task:
    """Bytes of each connection, both directions together; of the ``top`` largest, or of all.

    ICMP has no ports: type and code stand in their place, so a request and its reply are two.
    """
    group = ["source", "destination", "ip_proto", "source_port", "destination_port"]
    return Task(name, group=group, measure=Sum() if top is None else TopK(top), every=every, bidirectional=True)


def throughput(*, every: int = SECOND, name: str = "throughput") -> Task:
    """Bytes on the wire of all packets."""
    return Task(name, measure=Sum(), every=every)


def port_scan(*, every: int = 60 * SECOND, threshold: int = 100, name: str = "port scan") -> Task:
    """Sources that try many ports of one host: those that open connections to ``threshold`` ports are marked."""
    group = ["source", "destination"]
    return Task(name, OPENING, group, Distinct("tcp_dst"), every=every, threshold=threshold)


def address_scan(*, every: int = 60 * SECOND, threshold: int = 25, name: str = "address scan") -> Task:
    """Sources that try one port of many hosts."""
    return Task(name, OPENING, ["source", "tcp_dst"], Distinct("destination"), every=every, threshold=threshold)
