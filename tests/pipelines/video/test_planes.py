import numpy as np
import pytest

from darkroom.pipelines.video.planes import Planes, chroma_shape, copy_plane, make_frame


@pytest.mark.parametrize(
    ("layout", "shape"), [("yuv420p", (144, 176)), ("yuv422p", (287, 176)), ("yuv444p", (287, 351))]
)
def test_planes_of_odd_sizes_come_back_as_they_went_in(layout: str, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    assert chroma_shape(layout, 287, 351) == shape
    planes: Planes = (
        random.integers(0, 256, (287, 351), np.uint8),
        random.integers(0, 256, shape, np.uint8),
        random.integers(0, 256, shape, np.uint8),
    )
    frame = make_frame(planes, layout)
    for index, plane in enumerate(planes):
        back = copy_plane(frame.planes[index])
        assert back.flags.c_contiguous
        assert np.array_equal(back, plane)
