"""A variable that begins as ours do is one of ours, or one of Kubernetes', or a mistake."""

import pytest

from app.shared.environment import mistakes, variable
from app.shared.settings import Settings

FIELDS = list(Settings.model_fields)


def said(**environment: str) -> list[str]:
    return list(mistakes(environment, FIELDS))


@pytest.mark.parametrize("field", FIELDS)
def test_every_setting_is_known_and_each_misspelling_is_told(field: str) -> None:
    name = variable(field)
    assert said(**{name: "1"}) == []
    for at in range(len("RADIATA_"), len(name)):
        wrong = name[:at] + name[at + 1 :]  # one letter left out
        (told,) = said(**{wrong: "1"})
        near = told.removeprefix(f"{wrong} is no setting; did you mean ").removesuffix("?")
        assert near in map(variable, FIELDS)
        assert abs(len(near) - len(wrong)) <= 2, told


def test_others_variables_are_nobody_s_business() -> None:
    assert said(PATH="x", RADIATAX="x", MY_RADIATA_PORT="x") == []
    assert said(RADIATA_URL="x", RADIATA_EXIT_WITH_PARENT="1", RADIATA_SOCKETS="3") == []


def test_what_kubernetes_puts_into_pods_is_passed_over() -> None:
    """As `kubectl` shows them in a pod beside Services called `radiata` and `radiata-redis`."""
    of_radiata = {
        "RADIATA_SERVICE_HOST": "10.0.0.11",
        "RADIATA_SERVICE_PORT": "8000",
        "RADIATA_SERVICE_PORT_HTTP": "8000",
        "RADIATA_PORT_8000_TCP": "tcp://10.0.0.11:8000",
        "RADIATA_PORT_8000_TCP_PROTO": "tcp",
        "RADIATA_PORT_8000_TCP_PORT": "8000",
        "RADIATA_PORT_8000_TCP_ADDR": "10.0.0.11",
    }
    assert said(**of_radiata) == []
    of_redis = {name.replace("RADIATA_", "RADIATA_REDIS_"): value for name, value in of_radiata.items()}
    assert said(**of_redis, RADIATA_REDIS_PORT="tcp://10.0.0.12:6379") == []
    (told,) = said(RADIATA_PORT="tcp://10.0.0.11:8000")
    assert "RADIATA_PORT" in told and "enableServiceLinks" in told


def test_each_mistake_has_its_sentence() -> None:
    first, second = said(RADIATA_PROT="1", RADIATA_MAX_STEP="")
    assert "RADIATA_MAX_STEP is no setting; did you mean RADIATA_MAX_STEPS?" in first
    assert "RADIATA_PROT is no setting; did you mean RADIATA_PORT?" in second
