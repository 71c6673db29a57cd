"""Settings: read once from the environment (prefix `RADIATA_`), then frozen."""

import re
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from app.shared.schema import NAME_PATTERN

MIB = 1024 * 1024
DISK_CACHE_MB = 16 * 1024  # where nothing else is set: some hundred adapters of SDXL's size


class BadSettings(Exception):
    """A variable in the environment does not say what it should; the message names it."""


class Settings(BaseSettings):
    """Everything that can be set, a sentence each; the README's table is made from these."""

    model_config = SettingsConfigDict(env_prefix="RADIATA_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        Path("data"), description="Folder of the embedded Valkey server, of the local store and of the disk cache."
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey to use; unset, `radiata up` starts its own in the data folder."
    )
    storage_url: str | None = Field(
        None, description="Object storage (`s3://…`, `gs://…`, `az://…`, `file:///…`); unset, a local folder."
    )
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0 takes a free one.")
    models: dict[str, str] = Field(
        {"emoji-64": "bundled:emoji-64"},
        description="Base models by name: a diffusers folder, a hub id, or `bundled:…` (JSON).",
    )
    default_model: str | None = Field(None, description="Model of requests that name none; unset, the first.")
    device: str = Field("auto", description="Where the model runs: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Weights' dtype; `auto` is float32 on a CPU and float16 elsewhere."
    )
    threads: int = Field(
        0, ge=0, description="CPU threads of one engine; 0 leaves it to torch. The same number draws the same bytes."
    )
    pristine: Literal["auto", "device", "host", "file"] = Field(
        "auto",
        description="Where weights that adapters change are kept as they were: on the `device`, in `host` memory, or "
        "in the base's own `file`s, which costs none; `auto` is `file` on a CPU and `host` elsewhere.",
    )
    adapter_cache_mb: int = Field(1024, ge=1, description="Host memory for parsed adapters, in MiB.")
    disk_cache_mb: int | None = Field(
        None,
        ge=0,
        description="Disk for adapter files in the data folder, in MiB, 0 for none; unset, 16384, or none where "
        "storage is a local folder.",
    )
    prefetch: int = Field(
        8, ge=0, description="Queued generations whose adapters are fetched while another is drawn; 0 is off."
    )
    max_upload_mb: int = Field(1024, ge=1, description="Largest adapter file taken, in MiB.")
    max_prompt_chars: int = Field(2000, ge=1, description="Longest prompt taken, in characters.")
    max_steps: int = Field(150, ge=1, description="Most denoising steps of one picture.")
    max_count: int = Field(16, ge=1, description="Most pictures of one generation.")
    max_adapters: int = Field(16, ge=0, description="Most adapters worn at once.")
    max_queued: int = Field(
        1000,
        ge=1,
        description="Generations waiting per model, of the same or a higher priority, before new ones get a 503.",
    )
    upload_wait_s: float = Field(10.0, ge=0, description="Seconds an upload waits for its verdict before a 202.")
    inspect_memory_mb: int = Field(
        4096, ge=256, description="Address space an inspection may add beside the file, in MiB."
    )
    inspect_timeout_s: int = Field(120, ge=1, description="Seconds an inspection may take.")
    generation_timeout_s: int = Field(1800, ge=1, description="Seconds one generation may take on a worker.")
    retries: int = Field(3, ge=0, description="Times a generation is done again when its engine dies.")
    affinity_window: int = Field(
        64, ge=1, description="Queued generations of which a worker takes the one that suits what it wears; 1 is off."
    )
    affinity_passes: int = Field(64, ge=0, description="Times that a queued generation may be passed over.")
    affinity_wait_s: float = Field(30.0, ge=0, description="Seconds for which it may be passed over.")
    lost_after_s: int = Field(8, ge=3, description="Seconds without a heartbeat after which a worker counts as dead.")
    sweep_every_s: int = Field(3, ge=1, description="Seconds between two looks for lost work.")
    keep_live_s: int = Field(24 * 3600, ge=60, description="Seconds that live state and events stay in Redis.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged, and above.")

    @field_validator("models")
    @classmethod
    def _some_model(cls, models: dict[str, str]) -> dict[str, str]:
        if not models:
            raise ValueError("name at least one base model")
        if unfit := [name for name in models if not re.fullmatch(NAME_PATTERN, name)]:
            raise ValueError(f"no request can name {unfit[0]!r}: small letters, digits and . _ - make a model's name")
        return models

    @model_validator(mode="after")
    def _default_is_there(self) -> Self:
        if self.model not in self.models:
            raise ValueError(f"default_model {self.model!r} is not one of the models: {', '.join(self.models)}")
        return self

    @cached_property
    def model(self) -> str:
        """Name of the model of requests that name none."""
        return self.default_model or next(iter(self.models))

    @cached_property
    def store_url(self) -> str:
        """Object storage in use, always a URL."""
        return self.storage_url or (self.data_dir.resolve() / "store").as_uri()

    @cached_property
    def disk_cache_bytes(self) -> int:
        """Bytes of adapter files kept on this machine's disk; 0 keeps none."""
        if self.disk_cache_mb is not None:
            return self.disk_cache_mb * MIB
        return 0 if self.store_url.startswith("file:") else DISK_CACHE_MB * MIB


def read_settings() -> Settings:
    """The settings as the environment has them; raises BadSettings with every variable that is wrong."""
    try:
        return Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        wrong = [(".".join(str(part) for part in one["loc"]), one["msg"]) for one in error.errors()]
        said = "; ".join(f"RADIATA_{name.upper()}: {message}" if name else message for name, message in wrong)
        raise BadSettings(said) from error
    except SettingsError as error:
        raise BadSettings(f'{error}: RADIATA_MODELS is JSON, as in {{"name": "/folder"}}') from error
