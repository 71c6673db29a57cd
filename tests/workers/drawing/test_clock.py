"""A device is counted while it swaps and draws, up to now, and while nothing is read, stored or waited for."""

import pytest

from workers.drawing.clock import Clock


def test_what_a_device_has_spent_is_swapping_and_drawing_up_to_now() -> None:
    at = [0]
    clock = Clock(lambda: at[0])

    def pass_ms(amount: int) -> None:
        at[0] += amount * 1_000_000

    pass_ms(500)  # adapters are read, or storage is waited for
    assert clock.device_ms == 0
    clock.lap("load")
    pass_ms(30)
    assert clock.device_ms == pytest.approx(30), "somebody cancels while it swaps"
    clock.lap("swap")
    pass_ms(100)
    assert clock.device_ms == pytest.approx(130)
    clock.lap("sample", then_works=False)
    pass_ms(1000)
    assert clock.device_ms == pytest.approx(130), "a store that is away costs nobody anything"
    clock.lap("store")
    pass_ms(7)
    assert clock.device_ms == pytest.approx(137)
    assert clock.laps == {"load": 500, "swap": 30, "sample": 100, "store": 1000}
