"""Profiles of models: written where they differ from what stands."""

from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.shared.making import profile


def test_a_model_that_is_what_it_was_is_no_news(storage: Storage, settings: Settings) -> None:
    profiles = Profiles(storage, settings)
    shapes = {"unet": {"w": [1]}}
    assert profiles.publish(profile(), shapes)
    assert not profiles.publish(profile(), shapes)
    assert profiles.publish(profile(versions={"radiata": "2"}), shapes)
