"""Every sampler name means a scheduler that is there, fresh each time, over the base's own configuration."""

import pytest
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from workers.models.samplers import SAMPLERS, available, make

# diffusers' own schedulers, with the newest numpy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

OWN = DDIMScheduler(beta_start=0.001, prediction_type="v_prediction")


@pytest.mark.parametrize("name", [None, *SAMPLERS])
def test_a_sampler_is_fresh_and_of_its_base(name: str | None) -> None:
    first, second = make(name, OWN), make(name, OWN)
    assert first is not second and first is not OWN
    assert (first.config.beta_start, first.config.prediction_type) == (0.001, "v_prediction")
    if name is None:
        assert type(first) is type(OWN) and dict(first.config) == dict(OWN.config)
    else:
        options = SAMPLERS[name].options
        assert {key: first.config[key] for key in options} == dict(options)


def test_what_is_offered_can_be_made() -> None:
    offered = available(OWN)
    assert len(offered) > 5 and set(offered) <= set(SAMPLERS)
    assert available(object()) == []


def test_making_one_leaves_the_own_as_it_was() -> None:
    before = dict(OWN.config)
    make("dpmpp_2m_karras", OWN).set_timesteps(5)
    make(None, OWN).set_timesteps(5)
    assert dict(OWN.config) == before and OWN.num_inference_steps is None
