"""Tokens, rate limits and the address of the caller."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_embedder.security.proxies import client_address
from smart_embedder.security.rate import RateLimiter
from smart_embedder.security.tokens import Tokens

PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_known_by_its_name() -> None:
    tokens = Tokens({"api_token": "one", "api_key": "two"})
    assert tokens.required
    assert tokens.name_of("Bearer one") == "api_token"
    assert tokens.name_of("bearer  two ") == "api_key"


@pytest.mark.parametrize(
    "shown", ["", "one", "Basic one", "Bearer", "Bearer ", "Bearer on", "Bearer öne"]
)
def test_what_is_no_known_token_has_no_name(shown: str) -> None:
    assert Tokens({"api_token": "one"}).name_of(shown) is None


def test_without_tokens_none_is_required() -> None:
    assert not Tokens({}).required


def test_a_file_of_tokens_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# who may call\n\nsearch: one\nreindex: t:w:o\nbare\n")
    tokens = Tokens({}, file)
    assert tokens.name_of("Bearer one") == "search"
    assert tokens.name_of("Bearer t:w:o") == "reindex"
    assert tokens.name_of("Bearer bare") == "line-5"

    file.write_text("search: three\n")
    assert tokens.name_of("Bearer one") is None
    assert tokens.name_of("Bearer three") == "search"


def test_a_file_that_vanishes_for_a_moment_locks_nobody_out(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("search: one\n")
    tokens = Tokens({}, file)
    assert tokens.name_of("Bearer one") == "search"
    file.unlink()
    assert tokens.name_of("Bearer one") == "search"


def test_a_named_file_closes_the_door_even_while_it_is_empty(tmp_path: Path) -> None:
    tokens = Tokens({}, tmp_path / "tokens")
    assert tokens.required
    assert tokens.name_of("Bearer ") is None


def test_a_burst_is_let_in_and_then_the_rate_holds() -> None:
    clock = Clock()
    limiter = RateLimiter(per_minute=60, burst=3, clock=clock)
    assert [limiter.admits("a") for _ in range(4)] == [True, True, True, False]
    clock.now += 1
    assert [limiter.admits("a") for _ in range(2)] == [True, False]


def test_one_clients_share_is_not_anothers() -> None:
    limiter = RateLimiter(per_minute=60, burst=1, clock=Clock())
    assert limiter.admits("a")
    assert not limiter.admits("a")
    assert limiter.admits("b")


def test_a_rate_of_zero_limits_nobody_and_remembers_nobody() -> None:
    limiter = RateLimiter(per_minute=0, burst=1)
    assert all(limiter.admits("a") for _ in range(100))
    assert len(limiter) == 0


def test_idle_buckets_are_forgotten_once_they_are_full() -> None:
    clock = Clock()
    limiter = RateLimiter(per_minute=60, burst=10, clock=clock)
    for client in range(1000):
        limiter.admits(str(client))
    clock.now += 61
    limiter.admits("later")
    assert len(limiter) == 1


@given(gaps=st.lists(st.floats(0, 5), max_size=60))
def test_no_client_ever_gets_more_than_burst_and_rate(gaps: list[float]) -> None:
    clock = Clock()
    limiter = RateLimiter(per_minute=120, burst=5, clock=clock)
    begun, admitted = clock.now, 0
    for gap in gaps:
        clock.now += gap
        admitted += limiter.admits("a")
        assert admitted <= 5 + (clock.now - begun) * 2 + 1e-6


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("1.1.1.1", "", "1.1.1.1"),
        ("1.1.1.1", "6.6.6.6", "1.1.1.1"),  # a stranger may say what it likes
        ("10.0.0.1", "6.6.6.6", "6.6.6.6"),
        ("10.0.0.1", "9.9.9.9, 6.6.6.6", "6.6.6.6"),  # the first hop was written by a stranger
        ("10.0.0.1", "6.6.6.6, 10.0.0.2", "6.6.6.6"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", " , ", "10.0.0.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("unknown", "6.6.6.6", "unknown"),
        ("::ffff:10.0.0.1", "6.6.6.6", "6.6.6.6"),  # a socket for both address families says so
        ("::ffff:1.1.1.1", "", "1.1.1.1"),
    ],
)
def test_a_forwarded_address_is_believed_as_far_as_trusted_proxies_wrote_it(
    peer: str, forwarded: str, found: str
) -> None:
    assert client_address(peer, forwarded, PROXIES) == found
