"""The agent that chooses tiles: simulated labelling of ground whose best choice is known."""

import numpy as np

from benchmarks import agent
from benchmarks.agent import (
    TOLD,
    Agent,
    Ground,
    Step,
    begin,
    by_both,
    by_diversity,
    by_entropy,
    curve,
    draw,
    tell,
)
from geoseg.geo.legend import IGNORED


def ground(seed=0, tiles=12, pixels=16):
    """All tiles show class 0 but two, which show class 1, far from the others."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((tiles, pixels), np.uint8)
    truth[-2:] = 1
    x = (rng.normal(0, 0.1, (tiles, pixels, 3)) + 3.0 * truth[..., None]).astype(np.float32)
    return Ground(x, truth, x.reshape(-1, 3), truth.ravel(), 2)


def begun(made):
    state = begin(made, 0)
    state.labelled[:] = [0, 1, 2]
    state.learn()
    return state


def test_what_is_unlike_the_labelled_is_chosen_and_pays():
    state = begun(ground())
    assert state.miou < 0.5, "the second class is not known yet"
    assert by_diversity(state) in (10, 11)
    assert by_both(state) in (10, 11)
    assert by_entropy(state) in state.free
    gain = state.label(by_diversity(state))
    assert gain > 0.4
    assert state.miou == 1


def test_pixels_without_label_teach_nothing():
    made = ground()
    made.truth[0, :8] = IGNORED
    made.tiles[0, :8] += 100  # what has no label may look as it will
    other = ground()
    other.truth[0, :8] = IGNORED
    shares = [begun(one).shares[1:] for one in (made, other)]
    np.testing.assert_allclose(*shares, atol=1e-4)


def test_the_agent_learns_to_look_for_what_is_unlike(monkeypatch):
    monkeypatch.setattr(agent, "BUDGET", 5)
    learning, random = Agent(), np.random.default_rng(0)
    for episode in range(12):
        state = begin(ground(episode), episode)
        learning.simulate(state, random)
        assert len(set(state.labelled)) == 5
    state = begun(ground(99))
    assert learning(state) in (10, 11)
    assert curve(ground(99), learning, 1)[-1] == 1


def test_q_counts_what_a_choice_makes_possible():
    """Two kinds of tile: one pays 1 at once, the other nothing, but leads to one that pays 10."""
    now, later, pays = np.eye(3)
    steps = [
        Step(now, 1.0, np.stack([now])),
        Step(later, 0.0, np.stack([now, pays])),
        Step(pays, 10.0, np.empty((0, 3))),
        Step(now, 1.0, np.empty((0, 3))),
    ]
    learning = Agent(steps=steps * 500)
    learning.fit()
    assert learning.weights[1] > learning.weights[0] > 0


def test_curves_are_told_and_drawn(tmp_path, capsys):
    found = {"random": [[0.1, 0.2], [0.3, 0.4]], "agent": [[0.2, 0.4], [0.2, 0.3]]}
    tell(found)
    lines = capsys.readouterr().out.splitlines()
    assert "agent" in lines[1]
    assert "0.350 ± 0.071" in lines[1]
    assert "above chance in 1 of 2 seeds" in lines[1]
    draw({"made": found}, tmp_path / "agent.png")
    assert (tmp_path / "agent.png").read_bytes().startswith(b"\x89PNG")
    assert len(TOLD) == 3
