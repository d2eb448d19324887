from darkroom.pipelines.video.timestamps import display_times, entry_points, find_jump_back, find_pause, usual_step


def test_display_times_sorts_decoding_order_into_display_order() -> None:
    assert display_times([0, 3, 1, 2], [-2, -1, 0, 1], 1) == ((0, 1, 2, 3), True)


def test_decoding_times_stand_in_where_the_container_has_no_others() -> None:
    assert display_times([None] * 4, [5, 6, 7, 9], 1) == ((5, 6, 7, 9), False)


def test_decoding_times_are_moved_to_where_the_known_ones_begin() -> None:
    assert display_times([2, None, None], [0, 1, 2], 1) == ((2, 3, 4), False)


def test_packets_without_any_time_follow_at_the_usual_pace() -> None:
    assert display_times([None, None, None], [None] * 3, 40) == ((0, 40, 80), False)


def test_silent_packets_before_the_first_known_time_count_back_from_it() -> None:
    assert display_times([None, None, 60, 20], [None] * 4, 40) == ((-60, -20, 20, 60), False)


def test_frames_with_one_time_are_moved_apart() -> None:
    assert display_times([0, 40, 40, 80], [None] * 4, 40) == ((0, 40, 41, 80), False)


def test_reordering_is_no_jump_back_but_a_second_recording_is() -> None:
    assert find_jump_back([0, 160, 80, 40, 120], 40) is None
    assert find_jump_back([10_000, None, 10_040, 0, 40], 40) == 3


def test_a_pause_is_found_where_it_is_longer_than_allowed() -> None:
    assert find_pause([0, 40, 80, 5000, 90_000], 4920) == 3
    assert find_pause([0, 40, 80, 5000], 4920) is None


def test_usual_step_is_the_median_and_never_zero() -> None:
    assert usual_step([0, 40, 80, 5000], 1) == 40
    assert usual_step([7], 0) == 1


def test_a_keyframe_that_later_packets_are_shown_before_is_no_entry() -> None:
    closed, opened = [0, 40, 20, 60, 100, 80], [0, 40, 20, 100, 60, 80]
    assert entry_points(closed, [True, False, False, True, False, False]) == (0, 3)
    assert entry_points(opened, [True, False, False, True, False, False]) == (0,)
