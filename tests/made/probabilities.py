"""Made-up probabilities with labels that are drawn of them."""

import numpy as np


def made_up(count, classes=4, sharp=1.0, seed=0):
    """Probabilities, and labels drawn of their (1 / sharp) power: calibrated for 1."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.ones(classes), count)
    truth = (rng.random((count, 1)) > true.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    shown = true**sharp
    return (shown / shown.sum(axis=1, keepdims=True)).astype(np.float32), truth
