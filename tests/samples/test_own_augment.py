"""Augmentations of other code keep image, labels and nodata together, or a fault is told."""

import pickle
import sys

import albumentations as A
import numpy as np
import pytest

from geoseg.errors import InputError
from geoseg.geo.legend import IGNORED
from geoseg.samples.augment import Augment
from geoseg.samples.own_augment import check_augment, own_augment


def sample(side=16):
    """Image whose first band is the class, target and valid; labels end before the image does."""
    target = np.arange(side * side).reshape(side, side).astype(np.uint8) % 3
    image = np.stack([target, target[::-1]]).astype(np.float32) + 1
    target[:2] = IGNORED
    valid = np.ones((side, side), bool)
    valid[:, -3:] = False
    image[:, ~valid] = 0
    target[~valid] = IGNORED
    return image, target, valid


def given(transform, **options):
    return own_augment(Augment(target="given in Python: it", options=options), transform)


def fault(transform):
    with pytest.raises(InputError) as caught:
        check_augment(given(transform), "augment", 2, 3)
    return str(caught.value)


@pytest.mark.parametrize(
    "transform",
    [
        A.Compose([A.HorizontalFlip(p=1)]),
        A.HorizontalFlip(p=1),
        lambda image, mask: {"image": image[:, ::-1], "mask": mask[:, ::-1]},
    ],
)
def test_a_flip_moves_image_labels_and_nodata(transform):
    image, target, valid = sample()
    made, found = given(transform)(image, target, valid, 3)
    np.testing.assert_array_equal(made, image[..., ::-1])
    np.testing.assert_array_equal(found, target[:, ::-1])


@pytest.mark.parametrize("options", [{}, {"fill_mask": 255}, {"fill": 9}])
def test_what_a_rotation_brings_in_is_no_class_and_no_image(options):
    """Albumentations fills masks with 0, geoseg's first class, which nobody must learn."""
    image, target, valid = sample(64)
    transform = A.Compose([A.Affine(rotate=(45, 45), p=1, **options)])
    made, found = given(transform)(image, target, valid, 3)
    corner = np.s_[:8, :8]
    assert (found[corner] == IGNORED).all()
    assert not made[:, *corner].any()
    known = found != IGNORED
    assert 0.3 < known.mean() < 0.9
    assert set(np.unique(found[known])) == {0, 1, 2}


def test_labels_that_are_missing_keep_their_image():
    image, target, valid = sample()
    for transform in (A.NoOp(), lambda image, mask: {"image": image, "mask": mask}):
        made, found = given(transform)(image, target, valid, 0)
        np.testing.assert_array_equal(made, image)
        np.testing.assert_array_equal(found, target)


def noise(image, mask):
    drawn = np.random.standard_normal(image.shape)  # noqa: NPY002
    return {"image": image + drawn.astype(np.float32), "mask": mask}


@pytest.mark.parametrize("transform", [A.Compose([A.Affine(rotate=(-90, 90), p=1)]), noise])
def test_the_seed_decides_and_the_process_does_not(transform):
    image, target, valid = sample(32)
    pipeline = given(transform)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = pipeline(image, target, valid, 7)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    other = pipeline(image, target, valid, 8)
    sent = pickle.loads(pickle.dumps(pipeline))(image, target, valid, 7)
    np.testing.assert_array_equal(first[0], sent[0])
    assert not np.array_equal(first[0], other[0])


def test_faults_are_told_before_training():
    assert "clips images to 0..1" in fault(A.RandomBrightnessContrast(p=1))
    assert "leave out Normalize" in fault(A.Compose([A.OneOf([A.Normalize()])]))
    assert "has the shape (32, 32, 2)" in fault(A.RandomCrop(32, 32))
    assert "expected a dictionary" in fault(lambda image, mask: (image, mask))
    assert "ValueError: no" in fault(raising)
    assert "no numbers" in fault(lambda image, mask: {"image": image * np.nan, "mask": mask})
    assert "label 3" in fault(lambda image, mask: {"image": image, "mask": mask + np.uint8(2)})
    assert "mask is of int64" in fault(
        lambda image, mask: {"image": image, "mask": mask.astype(int)}
    )
    generator = np.random.default_rng()
    unsteady = lambda image, mask: {"image": image + np.float32(generator.random()), "mask": mask}  # noqa: E731
    assert "something else for the same seed" in fault(unsteady)


def raising(image, mask):
    raise ValueError("no")


def test_a_target_is_a_transform_a_maker_or_a_function(tmp_path, monkeypatch):
    (tmp_path / "augment_ab.py").write_text(
        "import albumentations as A\n"
        "ready = A.HorizontalFlip(p=1)\n"
        "def make(p=0.0): return A.HorizontalFlip(p=p)\n"
        "def mirrored(image, mask, by=1): return {'image': image[:, ::by], 'mask': mask[:, ::by]}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    image, target, valid = sample()
    for name, options in (("ready", {}), ("make", {"p": 1.0}), ("mirrored", {"by": -1})):
        made, _ = own_augment(Augment(target=f"augment_ab:{name}", options=options))(
            image, target, valid, 0
        )
        np.testing.assert_array_equal(made, image[..., ::-1])
    with pytest.raises(InputError, match="takes none"):
        own_augment(Augment(target="augment_ab:ready", options={"p": 1}))
    sys.modules.pop("augment_ab")
