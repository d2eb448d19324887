import pytest

from darkroom.pipelines.ocr.affine import Affine, turned_back

SLANTED = Affine(2, 1, -1, 3, 5, 7)


def test_a_map_through_three_points_meets_them() -> None:
    through = Affine.through((5, 7), (7, 8), (4, 10))
    assert through == SLANTED
    assert [through.point(point) for point in ((0, 0), (1, 0), (0, 1))] == [(5, 7), (7, 8), (4, 10)]


def test_directions_are_not_shifted() -> None:
    assert SLANTED.vector((1, 1)) == (1, 4)


def test_the_first_map_is_done_first() -> None:
    both = Affine(1, 0, 0, 1, 10, 0).then(Affine(2, 0, 0, 2))
    assert both.point((1, 1)) == (22, 2)


def test_the_inverse_leads_back() -> None:
    assert SLANTED.inverse().point(SLANTED.point((3, -4))) == pytest.approx((3, -4))
    assert SLANTED.inverse().then(SLANTED).point((8, 9)) == pytest.approx((8, 9))


def test_a_plane_folded_to_a_line_has_no_way_back() -> None:
    with pytest.raises(ZeroDivisionError):
        Affine(1, 2, 2, 4).inverse()


@pytest.mark.parametrize(
    ("rotation", "corner"),  # of a page 3 wide and 2 high when upright: where its top left corner was before
    [(0, (0, 0)), (90, (0, 3)), (180, (3, 2)), (270, (2, 0))],
)
def test_a_page_is_turned_back(rotation: int, corner: tuple[float, float]) -> None:
    assert turned_back(3, 2, rotation).point((0, 0)) == corner


def test_a_quarter_back_agrees_with_turning_the_picture() -> None:
    # A mark at (1, 0) of a page 4 wide and 2 high; clockwise it comes to the right edge, second from the top.
    assert turned_back(2, 4, 90).point((2, 1)) == (1, 0)
    assert turned_back(2, 4, 270).point((0, 3)) == (1, 0)
