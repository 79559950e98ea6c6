"""Secrets of hashes under which runs of keys spread."""

import pytest

from sentinic.driver.secret import is_spread, spreading_secret


def number_of(key: int, secret: int, width: int) -> int:
    """Of a key's set, as the card works it out."""
    return sum(((key & secret >> bit).bit_count() & 1) << bit for bit in range(width))


@pytest.mark.parametrize("width", [1, 4, 8])
def test_keys_of_a_run_fall_each_into_another_set(width: int) -> None:
    windows = (0, 1, 16, 144)
    for _ in range(20):
        secret = spreading_secret(320, [range(window, window + width) for window in windows], width)
        for window in windows:
            numbers = {number_of(key << window | 1 << 170, secret, width) for key in range(1 << width)}
            assert len(numbers) == 1 << width


@pytest.mark.parametrize(("secret", "spread"), [(0b001, False), (0b010, True), (0b101, True), (0b111, False)])
def test_two_bits_by_hand(secret: int, spread: bool) -> None:
    # The numbers of the keys 1 and 2 are the secret's bits 0 and 1, and 1 and 2: neither 0, nor the same.
    assert is_spread(secret, range(2), 2) is spread
    assert is_spread(secret << 9, [9, 10], 2) is spread
    assert (len({number_of(key, secret, 2) for key in range(4)}) == 4) is spread


def test_half_of_all_secrets_are_bad_for_a_window() -> None:
    width = 5
    secrets = range(1 << (2 * width - 1))
    good = [secret for secret in secrets if is_spread(secret, range(width), width)]
    assert len(good) == len(secrets) // 2
    for secret in secrets:
        assert (len({number_of(key, secret, width) for key in range(1 << width)}) == 1 << width) is (secret in good)


def test_no_secret_spreads_what_is_beyond_its_bits() -> None:
    with pytest.raises(ValueError, match=r"no secret of 8 bits spreads 4 bits of each of \[\[8, 9, 10, 11\]\]"):
        spreading_secret(8, [range(8, 12)], 4)
