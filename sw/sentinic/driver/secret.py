"""Secrets of hashes: random, but for those under which attempts that differ in a run of bits crowd into few sets."""

import secrets
from collections.abc import Sequence

#: What is there to be found is found in a few draws: half of all are good for one window, one in 256 for eight.
_DRAWS = 100_000


def spreading_secret(bits: int, runs: Sequence[Sequence[int]], width: int) -> int:
    """A random secret of ``bits`` bits for a Toeplitz hash, of which ``width`` bits are the number of a set.

    Bit *j* of the hash is the parity of key and secret shifted right by *j*.  It is linear, so keys that differ in *n*
    bits only fall into 2^n sets, or, with a secret that happens to be bad for these bits, into half as many, a quarter,
    ...  Here keys that differ in the first ``width`` bits of one of ``runs`` (bit numbers in the key) fall each into
    another set: consecutive ports or addresses fill a table evenly.  That half of all secrets are bad for a run of
    bits one after another is the count of singular Hankel matrices over GF(2) (Daykin 1960).
    """
    for _ in range(_DRAWS):
        secret = secrets.randbits(bits)
        if all(is_spread(secret, run[:width], width) for run in runs):
            return secret
    raise ValueError(f"no secret of {bits} bits spreads {width} bits of each of {[list(run) for run in runs]}")


def is_spread(secret: int, run: Sequence[int], width: int) -> bool:
    """Keys that differ in the bits of ``run`` have each another number of ``width`` bits."""
    basis: dict[int, int] = {}  # by their highest bit
    for bit in run:
        row = secret >> bit & ((1 << width) - 1)
        while row and (top := row.bit_length()) in basis:
            row ^= basis[top]
        if not row:
            return False
        basis[row.bit_length()] = row
    return True
