import os
from fractions import Fraction
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from av.codec.codec import Codec

from darkroom.pipelines.video.encode import available_encoders
from darkroom.pipelines.video.planes import make_frame
from darkroom.pipelines.video.priority import stay_ordinary


def policies() -> set[int]:
    """Return how the threads of this process are scheduled."""
    return {os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()}


def encode() -> set[int]:
    """Encode a picture with SVT-AV1, and return how threads were scheduled meanwhile."""
    gray = np.full((256, 256), 128, np.uint8)
    encoder = Codec("libsvtav1", "w").create("video")
    encoder.width, encoder.height, encoder.pix_fmt = 256, 256, "yuv420p"
    encoder.framerate = Fraction(25)
    picture = make_frame((gray, gray[:128, :128], gray[:128, :128]), "yuv420p")
    picture.pts = 0
    packets = encoder.encode(picture)
    found = policies()
    assert [*packets, *encoder.encode(None)]
    return found


def test_no_encoder_makes_a_thread_of_ours_a_real_time_one() -> None:
    if "libsvtav1" not in available_encoders():
        pytest.skip("libsvtav1 does not work here")
    assert encode() | policies() == {os.SCHED_OTHER}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has the right")
def test_the_right_is_given_up_by_the_thread_that_asks_and_those_it_starts() -> None:
    told: list[str] = []

    def try_it() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            told.append("taken")
        except PermissionError:
            told.append("refused")

    def give_up_and_try() -> None:
        stay_ordinary()
        try_it()
        child = Thread(target=try_it)
        child.start()
        child.join()

    thread = Thread(target=give_up_and_try)
    thread.start()
    thread.join()
    assert told == ["refused", "refused"]
