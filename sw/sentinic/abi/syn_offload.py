"""SYN offload: why a SYN that the card held goes on, and what its tag says of the attempt."""

from enum import IntEnum


class Reason(IntEnum):
    """Why a held SYN leaves the table of attempts."""

    NONE = 0
    ANSWERED = 1  #: the responder sent something: SYN+ACK, a SYN of its own, data
    REFUSED = 2  #: the responder sent a RST
    INTERRUPTED = 3  #: the originator sent something else than the SYN once more
    SUPERSEDED = 4  #: the originator began anew: a SYN with another sequence number
    EXPIRED = 5  #: nobody answered in time
    EVICTED = 6  #: the table was full, and this attempt the oldest


#: Reasons after which the attempt is over: no answer was seen.
UNANSWERED = (Reason.SUPERSEDED, Reason.EXPIRED, Reason.EVICTED)
#: SYNs sent once more that an attempt counts; the next one begins a new attempt.
MAX_RETRANSMISSIONS = 0xFFFF
