"""The agent that chooses tiles: simulated labelling of places whose best choice is known."""

import numpy as np

from benchmarks import agent
from benchmarks.agent import TOLD, Agent, Place, begin, by_diversity, by_entropy, curve
from geoseg.geo.legend import IGNORED


def place(seed=0, tiles=12, pixels=16):
    """All tiles show class 0 but two, which show class 1, far from the others."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((tiles, pixels), np.uint8)
    truth[-2:] = 1
    x = rng.normal(0, 0.1, (tiles, pixels, 3)) + 5.0 * truth[..., None]
    return Place(x.astype(np.float32), truth, x.reshape(-1, 3), truth.ravel(), 2)


def test_what_is_unlike_the_labelled_is_chosen(monkeypatch):
    monkeypatch.setattr(agent, "TREES", 3)
    state = begin(place(), 0)
    state.labelled[:] = [0, 1, 2]
    state.learn()
    assert state.miou < 0.5, "the second class is not known yet"
    assert by_diversity(state) in (10, 11)
    assert by_entropy(state) in state.free
    gain = state.label(by_diversity(state))
    assert gain > 0.4
    assert state.miou == 1


def test_the_agent_learns_to_look_for_what_is_unlike(monkeypatch):
    monkeypatch.setattr(agent, "TREES", 3)
    monkeypatch.setattr(agent, "BUDGET", 5)
    learning, random = Agent(), np.random.default_rng(0)
    for episode in range(12):
        state = begin(place(episode), episode)
        learning.learn_on(state, random)
        assert len(set(state.labelled)) == 5
    assert learning.weights[TOLD.index("unlikeness")] > 0
    found = curve(place(99), learning, 1)
    assert len(found) == 3
    assert found[-1] == 1


def test_tiles_without_labels_are_not_begun_with():
    made = place()
    made.truth[:6] = IGNORED
    assert min(begin(made, 3).labelled) >= 6
