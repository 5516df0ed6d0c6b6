"""Losses: against naive references, on ignored pixels, absent classes and odd class weights."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from geoseg.errors import InputError
from geoseg.training.objectives import settings
from geoseg.training.objectives.loss import build, class_weights, lovasz_slopes

NAMES = ["field", "forest", "road", "water"]
CASES = {
    "cross_entropy": settings.Loss(terms={"cross_entropy": 1.0}),
    "smoothed": settings.Loss(terms={"cross_entropy": 1.0}, label_smoothing=0.1),
    "dice": settings.Loss(terms={"dice": 1.0}),
    "focal": settings.Loss(terms={"focal": 1.0}, focal_gamma=2.0),
    "focal_half": settings.Loss(terms={"focal": 1.0}, focal_gamma=0.5),
    "lovasz": settings.Loss(terms={"lovasz": 1.0}),
    "tversky": settings.Loss(terms={"tversky": 1.0}, tversky_alpha=0.3, tversky_beta=0.7),
    "bootstrapped_hard": settings.Loss(terms={"bootstrapped": 1.0}),
    "bootstrapped_soft": settings.Loss(
        terms={"bootstrapped": 1.0}, bootstrap_target="soft", bootstrap_beta=0.7
    ),
    "symmetric": settings.Loss(
        terms={"symmetric": 1.0}, symmetric_alpha=0.3, symmetric_beta=0.8, symmetric_log_zero=-5.0
    ),
    "sum": settings.Loss(terms={"cross_entropy": 0.5, "dice": 2.0, "lovasz": 0.0}),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def jaccard_loss(truth: set[int], mistakes: set[int]) -> float:
    """1 - IoU of a class whose pixels are `truth`, got right but for the mistakes."""
    union = truth | mistakes
    return len(mistakes) / len(union) if union else 0.0


def naive_lovasz(errors: np.ndarray, truth: np.ndarray) -> float:
    """The Lovász extension by its definition: the loss of growing sets of mistakes."""
    order = np.argsort(-errors, kind="stable")
    pixels = set(np.flatnonzero(truth).tolist())
    total = 0.0
    for n, i in enumerate(order, start=1):
        with_it = jaccard_loss(pixels, set(order[:n].tolist()))
        without = jaccard_loss(pixels, set(order[: n - 1].tolist()))
        total += errors[i] * (with_it - without)
    return total


def naive(case: settings.Loss, logits: np.ndarray, target: np.ndarray, w: np.ndarray) -> float:
    """Every term by loops over pixels (N, K) and classes, in float64."""
    keep = target != 255
    p, t = softmax(logits.astype(np.float64))[keep], target[keep]
    K = p.shape[1]
    present = [k for k in range(K) if (t == k).any()]

    def by_pixel(loss_of) -> float:
        weight = sum(w[k] for k in t)
        return sum(loss_of(i, k) for i, k in enumerate(t)) / weight if weight else 0.0

    def by_class(loss_of) -> float:
        weight = sum(w[k] for k in present)
        return sum(w[k] * loss_of(k) for k in present) / weight if weight else 0.0

    def overlap(k: int, alpha: float, beta: float) -> float:
        hit = p[t == k, k].sum()
        return 1 - hit / (hit + alpha * p[t != k, k].sum() + beta * (1 - p[t == k, k]).sum())

    def bootstrapped(i: int, k: int) -> float:
        own = p[i] if case.bootstrap_target == "soft" else np.eye(K)[p[i].argmax()]
        beta = case.bootstrap_beta or 0.8
        return -w[k] * float(((beta * np.eye(K)[k] + (1 - beta) * own) * np.log(p[i])).sum())

    def symmetric(i: int, k: int) -> float:
        log_t = np.where(np.arange(K) == k, 0, case.symmetric_log_zero)
        cross, reverse = -np.log(p[i, k]), -float((p[i] * log_t).sum())
        return w[k] * (case.symmetric_alpha * cross + case.symmetric_beta * reverse)

    s = case.label_smoothing or 0
    terms = {
        "bootstrapped": lambda: by_pixel(bootstrapped),
        "symmetric": lambda: by_pixel(symmetric),
        "cross_entropy": lambda: by_pixel(
            lambda i, k: (
                -(1 - s) * w[k] * np.log(p[i, k])
                - s / K * sum(w[j] * np.log(p[i, j]) for j in range(K))
            )
        ),
        "focal": lambda: by_pixel(
            lambda i, k: -w[k] * (1 - p[i, k]) ** case.focal_gamma * np.log(p[i, k])
        ),
        "dice": lambda: by_class(lambda k: overlap(k, 0.5, 0.5)),
        "tversky": lambda: by_class(lambda k: overlap(k, case.tversky_alpha, case.tversky_beta)),
        "lovasz": lambda: by_class(
            lambda k: naive_lovasz(np.where(t == k, 1 - p[:, k], p[:, k]), t == k)
        ),
    }
    return float(sum(share * terms[name]() for name, share in case.own_terms.items()))


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (N, K), target (N,) with ignored pixels, class weights (K,), some of them 0."""
    K, N = draw(st.integers(2, 4)), draw(st.integers(1, 12))
    logits = np.array(draw(st.lists(st.floats(-6, 6, width=32), min_size=N * K, max_size=N * K)))
    target = draw(st.lists(st.sampled_from([*range(K), 255]), min_size=N, max_size=N))
    weights = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=K, max_size=K))
    return logits.reshape(N, K), np.array(target), np.array(weights)


def as_tensors(logits: np.ndarray, target: np.ndarray) -> tuple[Tensor, Tensor]:
    """(N, K) and (N,) as (1, K, N, 1) and (1, N, 1)."""
    x = torch.tensor(logits.T[None, :, :, None], dtype=torch.float32, requires_grad=True)
    return x, torch.tensor(target[None, :, None])


def random_batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 6, 5, generator=generator)
    target = torch.randint(0, 4, (2, 6, 5), generator=generator)
    target[:, :2] = 255
    return logits, target


@each_case
@hypothesis_settings(deadline=None, max_examples=30)
@given(batch=batches())
def test_equals_a_naive_reference(case, batch):
    logits, target, weights = batch
    loss = build(case, names=NAMES[: len(weights)])
    loss.weights.copy_(torch.tensor(weights))
    x, t = as_tensors(logits, target)
    value = loss(x, t)
    value.backward()
    assert value.item() == pytest.approx(naive(case, logits, target, weights), rel=1e-3, abs=1e-5)
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad[:, :, t[0, :, 0] == 255] == 0).all()


@each_case
def test_gradient_is_the_slope_of_the_reference(case):
    logits, target = random_batch()
    logits, target = logits[:1, :, :3, :3], target[:1, 2:5, :3]
    flat = logits.flatten(2)[0].T.numpy().astype(np.float64)
    x, t = as_tensors(flat, target.flatten().numpy())
    build(case, names=NAMES)(x, t).backward()
    step, expected = 1e-6, np.zeros_like(flat)
    for index in np.ndindex(*flat.shape):
        up, down = flat.copy(), flat.copy()
        up[index] += step
        down[index] -= step
        both = [naive(case, side, t.flatten().numpy(), np.ones(4)) for side in (up, down)]
        expected[index] = (both[0] - both[1]) / (2 * step)
    np.testing.assert_allclose(x.grad[0, :, :, 0].T, expected, atol=2e-5)


@each_case
def test_ignored_pixels_count_for_nothing(case):
    logits, target = random_batch()
    loss = build(case, names=NAMES)
    first = logits.clone().requires_grad_()
    other = logits.clone()
    other[:, :, :2] = 50 * torch.randn(2, 4, 2, 5)
    other.requires_grad_()
    values = [loss(x, target) for x in (first, other)]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-6)
    for value in values:
        value.backward()
    assert (other.grad[:, :, :2] == 0).all()
    assert (other.grad[:, :, 2:] != 0).any()
    torch.testing.assert_close(first.grad, other.grad)


@each_case
def test_all_ignored_is_zero_with_a_gradient(case):
    logits = torch.randn(2, 4, 6, 5, requires_grad=True)
    value = build(case, names=NAMES)(logits, torch.full((2, 6, 5), 255))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


@each_case
def test_saturated_logits_stay_finite(case):
    logits, target = random_batch()
    logits = (logits * 1e4).requires_grad_()
    value = build(case, names=NAMES)(logits, target)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("case", ["dice", "tversky", "lovasz"])
def test_absent_classes_do_not_punish(case):
    """A perfect map of two of four classes is perfect."""
    target = torch.tensor([[[0, 0, 1, 255]]])
    logits = 30.0 * torch.nn.functional.one_hot(target % 255, 4).permute(0, 3, 1, 2)
    assert build(CASES[case], names=NAMES)(logits, target).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_torchs_own(smoothing):
    logits, target = random_batch()
    given_by_name = {"field": 1.0, "forest": 2.0, "road": 0.0, "water": 0.25}
    case = settings.Loss(class_weights=given_by_name, label_smoothing=smoothing)
    expected = torch.nn.functional.cross_entropy(
        logits,
        target,
        torch.tensor([1.0, 2.0, 0.0, 0.25]),
        ignore_index=255,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(build(case, names=NAMES)(logits, target), expected)


def test_memory_format_and_type_of_target_do_not_matter():
    logits, target = random_batch()
    loss = build(settings.Loss(terms={"cross_entropy": 1, "lovasz": 1, "dice": 1}), names=NAMES)
    expected = loss(logits, target)
    for x in (logits, logits.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(loss(x, target.to(torch.uint8)), expected)


@each_case
def test_is_float32_under_autocast(case):
    logits, target = random_batch()
    low = logits.bfloat16()
    loss = build(case, names=NAMES)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(low, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(low.float(), target))


@hypothesis_settings(deadline=None)
@given(
    errors=st.lists(st.integers(0, 10_000), min_size=1, max_size=9, unique=True),
    data=st.data(),
)
def test_lovasz_slopes_follow_the_definition(errors, data):
    """Slopes = what the Jaccard loss gains pixel by pixel; unknown pixels have none."""
    truth = data.draw(st.lists(st.booleans(), min_size=len(errors), max_size=len(errors)))
    truth[0] = True
    slopes = lovasz_slopes(
        torch.tensor([[*errors, 99_999]], dtype=torch.float32),
        torch.tensor([[*truth, False]]),
        torch.tensor([True] * len(errors) + [False]),
    )[0]
    order = sorted(range(len(errors)), key=lambda i: -errors[i])
    pixels = {i for i, is_class in enumerate(truth) if is_class}
    losses = [jaccard_loss(pixels, set(order[:n])) for n in range(len(errors) + 1)]
    for i, (before, after) in zip(order, pairwise(losses), strict=True):
        assert slopes[i].item() == pytest.approx(after - before, abs=1e-6)
    assert slopes[-1] == 0


def test_lovasz_of_hard_mistakes_is_one_minus_iou():
    """On 0/1 errors the extension equals the Jaccard loss itself (Berman et al. 2018, eq. 6)."""
    truth = torch.tensor([[True, True, True, False, False]])
    mistakes = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0]])
    slopes = lovasz_slopes(mistakes, truth, torch.ones(5, dtype=torch.bool))
    assert (mistakes * slopes).sum().item() == pytest.approx(1 - 2 / 4)


def test_lovasz_keeps_its_digits_among_many_pixels():
    """They equal differences of losses in float64; those of float32 are off by 17 % on average."""
    n = 1_000_000
    generator = torch.Generator().manual_seed(0)
    errors = torch.linspace(1, 0, n).unsqueeze(0)
    truth = torch.rand(1, n, generator=generator) < 0.3
    slopes = lovasz_slopes(errors, truth, torch.ones(n, dtype=torch.bool))
    left = truth.sum() - truth.cumsum(1)
    losses = 1 - left.double() / (truth.sum() + (~truth).cumsum(1))
    expected = losses.diff(prepend=torch.zeros(1, 1, dtype=torch.float64))
    torch.testing.assert_close(slopes.double(), expected, rtol=1e-6, atol=1e-15)


def test_published_shares_of_the_label_are_the_default():
    logits, target = random_batch()
    for kind, beta in (("hard", 0.8), ("soft", 0.95)):
        by_default, said = (
            build(settings.Loss({"bootstrapped": 1.0}, bootstrap_target=kind, **given), names=NAMES)
            for given in ({}, {"bootstrap_beta": beta})
        )
        assert by_default(logits, target) == said(logits, target)


def test_wrong_labels_pull_less_than_in_cross_entropy():
    """A sure network that is told otherwise: the pull of the one pixel on its logits."""
    pulls = {}
    for name in ("cross_entropy", "bootstrapped", "symmetric"):
        logits = torch.tensor([[6.0, 0.0, 0.0, 0.0]])[..., None, None].requires_grad_()
        build(settings.Loss(terms={name: 1.0}), names=NAMES)(
            logits, torch.ones(1, 1, 1, dtype=torch.long)
        ).backward()
        pulls[name] = float(logits.grad.abs().sum())
    assert pulls["bootstrapped"] == pytest.approx(0.8 * pulls["cross_entropy"], rel=0.01)
    assert pulls["symmetric"] < 0.15 * pulls["cross_entropy"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"bootstrap_target": "medium"}, "hard, soft"),
        ({"bootstrap_beta": 0.0}, "(0, 1]"),
        ({"bootstrap_beta": 1.5}, "(0, 1]"),
        ({"symmetric_alpha": 0.0, "symmetric_beta": 0.0}, "both 0"),
        ({"symmetric_beta": -1.0}, "symmetric_beta=-1.0: must not be negative"),
        ({"symmetric_log_zero": 0.0}, "below 0"),
        ({"symmetric_log_zero": -float("inf")}, "below 0"),
    ],
)
def test_settings_that_can_not_be_are_refused(values, expected):
    with pytest.raises(InputError) as raised:
        settings.Loss(**values)
    assert expected in str(raised.value)


def test_terms_of_weight_zero_are_left_out():
    loss = build(CASES["sum"], names=NAMES)
    assert [share for share, _ in loss.terms] == [0.5, 2.0]


def test_inverse_weights():
    weights = class_weights("inverse", [0.5, 0.25, 0.25, 0.0], names=NAMES)
    assert weights[1] == weights[2] == pytest.approx(2 * weights[0])
    assert weights[3] == 1
    assert sum(weights[:3]) == pytest.approx(3)
    assert class_weights("inverse", [50, 25, 25, 0], names=NAMES) == pytest.approx(weights)


def test_median_frequency_counts_only_tiles_with_the_class():
    """Eigen & Fergus 2015: 150 of the 200 px of its tiles are field, 50 of 100 forest."""
    tiles = np.array([[100, 0, 0], [50, 50, 0]])
    weights = class_weights("median", tiles, names=NAMES[:3])
    assert weights[1] / weights[0] == pytest.approx(0.75 / 0.5)
    assert weights[2] == 1
    inverse = class_weights("inverse", tiles, names=NAMES[:3])
    assert inverse[1] / inverse[0] == pytest.approx(150 / 50)


def test_a_handful_of_pixels_does_not_drown_the_rest():
    weights = class_weights("inverse", [1e9, 3.0, 0.0], names=NAMES[:3])
    assert weights[1] / weights[0] == pytest.approx(100)
    assert class_weights("median", [0.0, 0.0, 0.0], names=NAMES[:3]) == [1, 1, 1]


def test_weights_by_name_are_put_in_the_order_of_the_classes():
    given_by_name = {"water": 4, "field": 1, "road": 3.5, "forest": 2}
    assert class_weights(given_by_name, names=NAMES) == [1, 2, 3.5, 4]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"feild": 1, "forest": 1, "road": 1, "water": 1}, ["feild", "did you mean field?"]),
        ({"field": 1, "forest": 1, "water": 1}, ["no weight for road"]),
        ({"field": 1, "forest": -1, "road": 1, "water": "x"}, ["forest=-1", "water=x"]),
        ({"field": float("inf"), "forest": 1, "road": 1, "water": 1}, ["field=inf"]),
        ({"field": 0, "forest": 0, "road": 0, "water": 0}, ["all are 0"]),
        ([1, 2, 3, 4], ["[1, 2, 3, 4]", "{field: 1, forest: 1"]),
        ("inverse", ["inverse", "shares are not known"]),
    ],
)
def test_class_weights_that_do_not_fit_are_refused(choice, expected):
    with pytest.raises(InputError) as raised:
        class_weights(choice, names=NAMES)
    for part in expected:
        assert part in str(raised.value)
