"""Orders of epochs: every image once, or rare classes more often, and the same for everybody who asks."""

import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.sample import Segment
from panodeeplab.data.sampling import EpochOrder, class_presence, repeat_factors


def test_each_epoch_is_an_order_of_its_own():
    order = EpochOrder(20, seed=0)
    numbers = [order.index(n) for n in range(100)]
    epochs = [numbers[start : start + 20] for start in range(0, 100, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 5
    # In any order of access, as workers and resumed runs ask for it.
    assert [order.index(n) for n in reversed(range(100))] == numbers[::-1]


def test_images_come_as_often_as_their_repeats_say():
    repeats = np.array([1.0, 2.5, 1.2, 4.0, 1.0])
    order = EpochOrder(5, seed=1, repeats=repeats)
    assert order.length == 10
    counts = []
    for epoch in range(400):
        indices = [order.index(epoch * order.length + i) for i in range(order.length)]
        counts.append(np.bincount(indices, minlength=5))
    # The sum is 9.7, an epoch 10 long.
    expected = repeats * 10 / repeats.sum()
    assert (np.abs(np.array(counts) - expected) <= 1).all()
    np.testing.assert_allclose(np.mean(counts, 0), expected, atol=0.08)


def test_repeat_factors_are_those_of_the_formula():
    presence = np.zeros((100, 3), bool)
    presence[:, 0] = True
    presence[:25, 1] = True
    presence[0, 2] = True
    factors = repeat_factors(presence, 0.5)
    assert factors[0] == pytest.approx((0.5 / 0.01) ** 0.5)
    np.testing.assert_allclose(factors[1:25], 2**0.5)
    np.testing.assert_array_equal(factors[25:], 1)
    np.testing.assert_array_equal(repeat_factors(presence, 0.001), 1)
    for threshold in (0, 1.1):
        with pytest.raises(ValueError, match=f"threshold must lie in .* got {threshold}"):
            repeat_factors(presence, threshold)


def test_presence_leaves_out_crowds_and_what_cannot_be_read():
    class Labels:
        classes = CITYSCAPES

        def __len__(self):
            return 3

        def segments_info(self, index):
            if index == 2:
                raise ValueError("damaged")
            return [Segment(id=1, category_id=0, iscrowd=0), Segment(id=2, category_id=13, iscrowd=1 - index)]

    presence = class_presence(Labels(), progress=False)
    assert [np.flatnonzero(row).tolist() for row in presence] == [[0], [0, 13], []]
