"""Settings are frozen, secret where they should be, and refused when no request could ever be served with them."""

import pytest
from pydantic import ValidationError

from app.shared.settings import BadSettings, Settings, read_settings


def test_a_password_is_never_shown() -> None:
    settings = Settings(redis_url="redis://user:hunter2@host:6379/0")  # type: ignore[arg-type]
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_nothing_is_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc, call-arg]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"models": {}}, "at least one"),
        ({"models": {"SD 1.5": "folder"}}, "no request can name"),
        ({"models": {"../x": "folder"}}, "no request can name"),
        ({"default_model": "nobody"}, "not one of the models"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_what_could_serve_nobody_is_refused_at_the_start(values: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(**values)  # type: ignore[arg-type]


def test_the_first_model_is_the_default() -> None:
    settings = Settings(models={"b": "folder", "a": "folder"})  # type: ignore[call-arg]
    assert settings.model == "b"
    assert settings.model_copy(update={"default_model": "a"}).default_model == "a"


def test_the_local_store_is_a_url_whatever_the_folder_is_called(tmp_path: pytest.TempPathFactory) -> None:
    settings = Settings(data_dir=tmp_path / "a b#c%20")  # type: ignore[operator, call-arg]
    assert settings.store_url.startswith("file:///") and "#" not in settings.store_url


@pytest.mark.parametrize(
    ("variable", "value"), [("RADIATA_PORT", "abc"), ("RADIATA_MODELS", "not json"), ("RADIATA_MODELS", "{}")]
)
def test_a_variable_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSettings, match=variable):
        read_settings()


@pytest.mark.parametrize("field", Settings.model_fields)
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setenv(f"RADIATA_{field.upper()}", "")
    assert getattr(read_settings(), field) == Settings.model_fields[field].default


def test_a_host_may_stand_in_brackets() -> None:
    assert Settings(host="[::1]").host == "::1"  # type: ignore[call-arg]
