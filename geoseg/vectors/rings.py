"""List the members of many closed rings in turn, of which only what follows each is known."""

from __future__ import annotations

import numpy as np

EVERY = 16
"""Members of which about one begins a stretch that is walked along by itself."""
_MIX = np.uint32(0x9E3779B1)
"""Knuth's factor (2³² by the golden ratio): numbers times it are spread over all of 32 bits."""


def listed(after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number (E,) of the ring of each member, and the order (E,) that lists each ring in turn.

    after: (E,) the member that follows each. Rings are numbered, and begin, by their least member.
    By stretches that are all walked along at once, and then put in order (Reid-Miller 1994): the
    time grows with E alone.
    """
    if not len(after):
        return after, after
    begins = _beginnings(after)
    stretch, place = np.empty(len(after), np.intp), np.empty(len(after), np.intp)
    follows, length = _walked(after, begins, stretch, place)
    head, left = _ranked(follows, length)
    own = np.flatnonzero(head == np.arange(len(begins)))
    number = np.empty(len(begins), np.intp)
    number[own] = np.arange(len(own))
    number = number[head]
    # Rings one after the other, and the stretches of each by how much of it is left.
    start = np.cumsum(left[own])[number] - left
    order = np.empty(len(after), np.intp)
    order[start[stretch] + place] = np.arange(len(after))
    return number[stretch], order


def _beginnings(after: np.ndarray) -> np.ndarray:
    """Members at which stretches begin: of each ring its least one at least."""
    every = np.arange(len(after))
    lower_than_before = np.empty(len(after), bool)
    lower_than_before[after] = after < every
    begins = lower_than_before & (every < after)
    begins |= every.astype(np.uint32) * _MIX < np.uint32(2**32 // EVERY)
    return np.flatnonzero(begins | (after == every))


def _walked(
    after: np.ndarray, begins: np.ndarray, stretch: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Write the stretch of each member and its place in it.

    Returns: the stretch that follows each, and the length of each.
    """
    of = np.full(len(after), -1, np.intp)
    of[begins] = np.arange(len(begins))
    follows, length = np.empty(len(begins), np.intp), np.empty(len(begins), np.intp)
    walking, at, steps = np.arange(len(begins)), begins, 0
    while len(at):
        stretch[at], place[at] = walking, steps
        at, steps = after[at], steps + 1
        reached = of[at]
        ended, onward = np.flatnonzero(reached >= 0), np.flatnonzero(reached < 0)
        done = walking[ended]
        follows[done], length[done] = reached[ended], steps
        walking, at = walking[onward], at[onward]
    return follows, length


def _ranked(follows: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first stretch (S,) of each one's ring, and the members from each to the ring's end.

    By doubling of steps (Wyllie 1979): log2 of the longest ring.
    """
    every = np.arange(len(follows))
    head, jump = every, follows
    while True:
        lower = np.minimum(head, head[jump])
        if (lower == head).all():
            break
        head, jump = lower, jump[jump]
    last = follows == head
    jump, left = np.where(last, every, follows), np.where(last, 0, length[follows])
    while (moved := left[jump]).any():
        left = left + moved
        jump = jump[jump]
    return head, left + length
