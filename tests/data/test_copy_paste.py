"""Copy-paste, pixel by pixel: what is pasted, what it covers, and who decides."""

import numpy as np
import pytest

from panodeeplab.data.copy_paste import CopyPaste
from panodeeplab.data.sample import Sample, Segment

CAR, PERSON, ROAD = 13, 11, 0


def _rng(n: int) -> np.random.Generator:
    return np.random.default_rng(n)


def _target() -> Sample:
    """60 x 80, road and two cars, and an id that no segment has."""
    panoptic = np.full((60, 80), 7, np.int32)
    panoptic[20:40, 5:35] = 26000
    panoptic[20:40, 45:75] = 26001
    panoptic[:3] = 99999
    segments = [
        Segment(id=7, category_id=ROAD, iscrowd=0),
        Segment(id=26000, category_id=CAR, iscrowd=0),
        Segment(id=26001, category_id=CAR, iscrowd=0),
    ]
    return Sample(np.full((60, 80, 3), 10, np.uint8), panoptic, segments, "target")


def _source(height: int = 60, width: int = 80) -> Sample:
    """A person with a hole in the middle, a person in a crowd, and road."""
    panoptic = np.full((height, width), 7, np.int32)
    panoptic[30:50, 40:52] = 24000
    panoptic[38:42, 44:48] = 7
    panoptic[30:50, 60:70] = 24
    rows, columns = np.indices((height, width))
    image = np.stack([100 + rows, 100 + columns, np.full_like(rows, 200)], -1).astype(np.uint8)
    segments = [
        Segment(id=7, category_id=ROAD, iscrowd=0),
        Segment(id=24000, category_id=PERSON, iscrowd=0),
        Segment(id=24, category_id=PERSON, iscrowd=1),
    ]
    return Sample(image, panoptic, segments, "source")


def _paster(**options) -> CopyPaste:
    presence = np.zeros((3, 19), bool)
    presence[1, PERSON] = True
    presence[:, CAR] = True
    return CopyPaste(presence, [PERSON], **options)


def test_the_object_is_a_segment_of_its_own_with_the_pixels_of_its_source():
    target, source = _target(), _source()
    truth = target.panoptic.copy()
    positions, mirrored = set(), set()
    for n in range(60):
        result = _paster().paste(target, source, _rng(n))
        (pasted,) = (s for s in result.segments_info if s["category_id"] == PERSON)
        assert pasted["iscrowd"] == 0
        assert pasted["id"] not in truth
        mask = result.panoptic == pasted["id"]
        assert mask.sum() == 20 * 12 - 16
        rows, columns = np.nonzero(mask)
        assert (rows.min(), rows.max()) == (30, 49)  # it keeps its height in the image
        # The image: the source's pixels in the object, mirrored or not, the target's everywhere else.
        local = columns - columns.min()
        drawn = result.image[rows, columns]
        straight = np.array_equal(drawn, source.image[rows, 40 + local])
        mirror = np.array_equal(drawn, source.image[rows, 51 - local])
        assert straight or mirror
        assert (result.image[~mask] == 10).all()
        # The map: everything else keeps its id, and whoever is covered has fewer pixels.
        np.testing.assert_array_equal(result.panoptic[~mask], truth[~mask])
        positions.add(int(columns.min()))
        mirrored.add(mirror)
        assert {s["id"] for s in result.segments_info} == set(np.unique(result.panoptic)) - {99999}
    assert len(positions) > 20
    assert mirrored == {True, False}
    # The samples are left as they were.
    np.testing.assert_array_equal(target.panoptic, truth)
    assert len(target.segments_info) == 3


def test_a_segment_that_is_covered_is_gone():
    panoptic = np.full((60, 12), 7, np.int32)
    panoptic[30:35] = 26000
    panoptic[30:35, 4:8] = 26001
    segments = [Segment(id=i, category_id=CAR, iscrowd=0) for i in (26000, 26001)]
    target = Sample(np.zeros((60, 12, 3), np.uint8), panoptic, segments, "narrow")
    result = _paster().paste(target, _source(), _rng(0))
    assert [s["id"] for s in result.segments_info] == [26002]


def test_objects_scale_with_the_height_of_the_image():
    target = _target()
    source = _source(80, 100)
    result = _paster().paste(target, source, _rng(1))
    (pasted,) = (s for s in result.segments_info if s["category_id"] == PERSON)
    rows, columns = np.nonzero(result.panoptic == pasted["id"])
    assert (rows.min(), rows.max(), np.ptp(columns)) == (22, 36, 8)


def test_an_object_wider_than_the_image_is_cut():
    panoptic = np.full((60, 300), 7, np.int32)
    panoptic[20:30, 10:290] = 24000
    segments = [Segment(id=24000, category_id=PERSON, iscrowd=0)]
    source = Sample(np.zeros((60, 300, 3), np.uint8), panoptic, segments, "wide")
    result = _paster().paste(_target(), source, _rng(0))
    assert (result.panoptic == result.segments_info[-1]["id"]).sum() == 10 * 80


def test_nothing_to_copy_leaves_the_sample_alone():
    target, source = _target(), _source()
    assert _paster().paste(target, target, _rng(0)) is target
    panoptic = np.full((60, 80), 7, np.int32)
    panoptic[5, 5] = 24000
    result = _paster().paste(target, source._replace(panoptic=panoptic), _rng(0))
    np.testing.assert_array_equal(result.panoptic, target.panoptic)


def test_the_generator_decides():
    paster = _paster(probability=0.5)
    draws = [paster.draw_source(_rng(n)) for n in range(200)]
    assert draws == [paster.draw_source(_rng(n)) for n in range(200)]
    assert set(draws) == {None, 1}  # the only image with a person
    assert 70 < draws.count(None) < 130
    a, b = (_paster().paste(_target(), _source(), _rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.panoptic, b.panoptic)


def test_rare_classes_are_drawn_as_often_as_common_ones():
    presence = np.zeros((1000, 19), bool)
    presence[:, CAR] = True
    presence[7, PERSON] = True
    paster = CopyPaste(presence, [CAR, PERSON], probability=1)
    rng = _rng(0)
    assert 400 < [paster.draw_source(rng) for _ in range(1000)].count(7) < 600


def test_at_most_max_objects():
    panoptic = np.full((60, 80), 7, np.int32)
    for k in range(5):
        panoptic[30:40, 12 * k : 12 * k + 10] = 24000 + k
    segments = [Segment(id=24000 + k, category_id=PERSON, iscrowd=0) for k in range(5)]
    source = Sample(np.zeros((60, 80, 3), np.uint8), panoptic, segments, "many")
    most = 0
    for n in range(10):
        result = _paster(max_objects=2).paste(_target(), source, _rng(n))
        most = max(most, sum(s["category_id"] == PERSON for s in result.segments_info))
    assert most == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probability": 1.5}, "probability must be 0 to 1, got 1.5"),
        ({"max_objects": 0}, "max_objects must be >= 1, got 0"),
        ({"classes": [5]}, "no image has an object of the classes to copy"),
    ],
)
def test_wrong_arguments(arguments, message):
    presence = np.zeros((3, 19), bool)
    presence[1, PERSON] = True
    with pytest.raises(ValueError, match=message):
        CopyPaste(presence, **{"classes": [PERSON], **arguments})
