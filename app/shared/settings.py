"""Settings: read once from the environment (prefix `RADIATA_`), then frozen.

An empty variable is as none. Whatever is set is judged by everybody who reads it, so that a wrong value is told in a
sentence wherever it is seen first; what is not set is judged where it is used.
"""

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from app.shared.base_source import BaseSource, DType, read_source
from app.shared.environment import PREFIX, mistakes, variable
from app.shared.models_file import ModelsFile, judge_name
from app.shared.setting_places import try_folder, try_storage
from app.shared.setting_values import Device, Hook, Host, SigningKey
from app.shared.web_names import Hosts, Networks, Origins, PublicUrl, Reachable, RootPath

SAID = "Value error, "  # how pydantic begins what a validator of ours says
WRONG_SETTINGS = 2  # the exit status of a process that has told of a setting
MIB = 1024 * 1024
DISK_CACHE_MB = 16 * 1024  # where nothing else is set: some hundred adapters of SDXL's size


class BadSettings(Exception):
    """A variable in the environment does not say what it should; the message names it."""


class Settings(BaseSettings):
    """Everything that can be set, a sentence each; docs/settings.md has them all."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, allow_inf_nan=False
    )

    data_dir: Path = Field(
        Path("data"), description="Folder of the embedded Valkey server, of the local store and of the disk cache."
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis or Valkey to use (`redis://`, `rediss://`, `unix://`, `redis+sentinel://`); unset, "
        "`radiata up` starts its own in the data folder, where other processes over that folder find it.",
    )
    storage_url: str | None = Field(
        None, description="Object storage (`s3://…`, `gs://…`, `az://…`, `file:///…`); unset, a local folder."
    )
    host: Host = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0 takes a free one.")
    open: bool = Field(
        False,
        description="Whether the API may listen where other machines reach it while there is no key (1): whoever "
        "reaches it may then use all of it.",
    )
    models: dict[str, str | BaseSource] = Field(
        {"emoji-64": "bundled:emoji-64"},
        description="Base models by name: a diffusers folder, a `.safetensors` or `.gguf` file, a hub id, or "
        "`bundled:…`; or an object with such a `source`, a `dtype`, `quantize`, and parts from elsewhere (JSON). They "
        "come before those of `models.json` in the data folder, which `radiata models add` writes.",
    )
    hub_token: SecretStr | None = Field(
        None,
        description="Token for gated and private repositories of a hub; unset, the one that `hf auth login` keeps, or "
        "`HF_TOKEN`.",
    )
    hub_url: str = Field("https://huggingface.co", description="Hub of which adapters are fetched (`hf:…`).")
    civitai_url: str = Field("https://civitai.com", description="Where adapters are fetched from by `civitai:…`.")
    civitai_token: SecretStr | None = Field(None, description="Token for what Civitai gives to those it knows.")
    fetch_allow: Reachable = Field(
        (),
        description="Hosts (`hub.lan,10.0.0.7:9000`) that may be asked with http, and inside a network of your own, "
        "when something is fetched or a webhook is called; all others with https, at public addresses.",
    )
    webhook_secret: SigningKey = Field(
        None,
        description="What webhooks are signed with (`whsec_…`); unset, a secret of this store. An owner who is not the "
        "first has another, made of it; `radiata webhooks secret` shows one's own.",
    )
    moderation: Hook = Field(
        "",
        description="The moderation hook, asked before a request is accepted and before a picture is stored: a URL, or "
        "`module:function`; unset, nobody is asked.",
    )
    moderation_down: Literal["refuse", "allow"] = Field(
        "refuse", description="What becomes of what the moderation hook says nothing of: it is away, or takes too long."
    )
    moderation_timeout_s: float = Field(10.0, gt=0, le=120, description="Seconds that the moderation hook may take.")
    default_model: str | None = Field(None, description="Model of requests that name none; unset, the first.")
    device: Device = Field("auto", description="Where the model runs: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.")
    dtype: DType = Field(
        "auto",
        description="Weights' dtype; `auto` is what the folder's weights are stored in, or float32 where the device "
        "does not compute in that.",
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
    control_cache_mb: int = Field(
        4096, ge=1, description="Memory for control nets beside a base, on its device, in MiB."
    )
    preprocessors: dict[Literal["depth", "pose", "person"], str] = Field(
        {},
        description="Models that maps for control nets are made with, each a folder or a hub id (JSON): `depth` (DPT, "
        "Depth Anything), `pose` (ViTPose) and, for it, `person` (RT-DETR or its like, which finds people).",
    )
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
    max_image_mb: int = Field(
        32, ge=1, description="Largest file of a picture taken, and of all that one request brings with it, in MiB."
    )
    max_dataset_mb: int = Field(
        512, ge=1, description="Largest dataset taken, in MiB: what is sent, and its files unpacked."
    )
    max_bodies_mb: int = Field(
        512,
        ge=64,
        le=1 << 20,
        description="MiB of bodies that one API process holds in memory, of all requests at once.",
    )
    max_prompt_chars: int = Field(2000, ge=1, description="Longest prompt taken, in characters.")
    max_steps: int = Field(150, ge=1, description="Most denoising steps of one picture.")
    max_count: int = Field(16, ge=1, description="Most pictures of one generation.")
    max_adapters: int = Field(16, ge=0, le=512, description="Most adapters of one generation; up to 512.")
    max_queued: int = Field(
        1000,
        ge=1,
        description="Generations waiting per model, of the same or a higher priority, before new ones get a 503.",
    )
    limit_requests: int = Field(0, ge=0, description="Requests a minute of one owner; 0: without limit.")
    limit_uploads: int = Field(0, ge=0, description="Uploads a minute of one owner; 0: without limit.")
    limit_generations: int = Field(
        0, ge=0, description="Generations of one owner that wait or run at once; 0: without limit."
    )
    limit_trainings: int = Field(
        0, ge=0, description="Trainings of one owner that wait or run at once; 0: without limit."
    )
    upload_wait_s: float = Field(10.0, ge=0, description="Seconds an upload waits for its verdict before a 202.")
    inspect_memory_mb: int = Field(
        4096, ge=256, description="Address space an inspection may add beside the file, in MiB."
    )
    storage_patience_s: float = Field(
        600,
        gt=0,
        description="Seconds that one generation or inspection waits for storage or Redis that is away, before it is "
        "put back, or fails where only a part of storage is away. A generation waits as long for a preprocessor's hub.",
    )
    inspect_timeout_s: int = Field(
        120, ge=1, description="Seconds an inspection may take; that of a dataset, for each 16 MiB of it."
    )
    accept_without_worker_s: float = Field(
        60.0,
        ge=-1,
        description="Seconds for which generations are taken for a model whose last worker has fallen silent, before a "
        "503; -1: always, where workers come when there is work.",
    )
    generation_timeout_s: int = Field(1800, ge=1, description="Seconds one generation may take on a worker.")
    drain_s: float = Field(
        5.0,
        ge=0,
        description="Seconds for which a worker that is told to stop goes on drawing; what is not done by then goes "
        "back to its queue, which counts as no try.",
    )
    training_timeout_s: int = Field(
        7 * 24 * 3600,
        ge=1,
        description="Seconds one training may take on a worker; resumed, it goes on from its checkpoint.",
    )
    training_keep_adapters: int = Field(
        20, ge=1, description="Adapters kept of one training: those of its newest checkpoints, which can be published."
    )
    training_keep_mb: int = Field(
        8 * 1024, ge=0, description="Most that they may take in storage, in MiB; the newest is kept in any case."
    )
    training_cache_mb: int = Field(
        20 * 1024,
        ge=0,
        description="Disk for latents and texts of pictures in the data folder, kept between trainings, in MiB.",
    )
    retries: int = Field(3, ge=0, description="Times a generation is done again when its engine dies.")
    affinity_window: int = Field(
        64,
        ge=1,
        description="Queued generations among which a worker chooses the one that needs the smallest swap; 1 is off.",
    )
    affinity_passes: int = Field(64, ge=0, description="Times that a queued generation may be passed over.")
    affinity_wait_s: float = Field(30.0, ge=0, description="Seconds for which it may be passed over.")
    lost_after_s: int = Field(8, ge=3, description="Seconds without a heartbeat after which a worker counts as dead.")
    sweep_every_s: int = Field(3, ge=1, description="Seconds between two looks for lost work.")
    keep_days: int | None = Field(
        None, ge=1, description="Days after its end that a generation is deleted, unless it has a star; unset, never."
    )
    keep_bytes: int | None = Field(
        None,
        ge=0,
        description="Bytes of pictures that generations which have ended may have in storage, of all owners together: "
        "over it the oldest are deleted, unless they have a star; unset, without limit.",
    )
    keep_bytes_per_owner: int | None = Field(None, ge=0, description="The same of each owner.")
    keep_live_s: int = Field(24 * 3600, ge=60, description="Seconds that live state and events stay in Redis.")
    allowed_hosts: Hosts = Field(
        (),
        description="Names under which browsers reach the service (`draw.example.org,*.example.com`), besides "
        "`localhost` and every address; any other name is answered 421.",
    )
    cors_origins: Origins = Field(
        (), description="Origins (`https://example.org`) whose pages may use the API from a browser; none by itself."
    )
    root_path: RootPath = Field("", description="Path below which a reverse proxy shows the service (`/draw`).")
    public_url: PublicUrl | None = Field(
        None,
        description="Address of the service from outside, with its path (`https://draw.example.org/draw`): addresses "
        "of pictures in webhooks begin with it; unset, they are paths, as in answers.",
    )
    trusted_proxies: Networks = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Addresses of proxies whose `X-Forwarded-Prefix`, `-Host` and `-Proto` are believed.",
    )
    log_prompts: bool = Field(
        False, description="Whether the log may say prompts; secrets it never says, nor pictures of requests."
    )
    otel_endpoint: str = Field("", description="Where OpenTelemetry traces go (OTLP over HTTP); unset, nowhere.")
    signed_url_s: int = Field(
        24 * 3600,
        ge=60,
        description="Seconds for which the `url` of a picture in an answer opens it without a key, where there are "
        "keys.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged, and above.")

    @model_validator(mode="before")
    @classmethod
    def _with_models_of_the_data_folder(cls, given: dict[str, Any]) -> dict[str, Any]:
        folder, models = given.get("data_dir", cls.model_fields["data_dir"].default), given.get("models")
        named = ModelsFile(Path(folder)).read() if isinstance(folder, str | Path) else {}
        if not named or not isinstance(models, dict | None):
            return given  # pydantic says what it should be
        first = cls.model_fields["models"].default | named if models is None else models
        return given | {"models": first | {name: said for name, said in named.items() if name not in first}}

    @field_validator("data_dir")
    @classmethod
    def _folder_can_be_made(cls, folder: Path) -> Path:
        try_folder(folder)
        return folder

    @field_validator("redis_url")
    @classmethod
    def _redis_can_be_meant(cls, url: SecretStr | None) -> SecretStr | None:
        if url:
            from app.shared.redis_url import read_url  # a quarter of a second, which the command line has no need of

            read_url(url.get_secret_value())
        return url

    @field_validator("storage_url")
    @classmethod
    def _storage_can_be_meant(cls, url: str | None) -> str | None:
        if url:
            try_storage(url)
        return url

    @field_validator("models", mode="before")
    @classmethod
    def _sources_can_be_meant(cls, models: Any) -> Any:
        if not isinstance(models, dict):
            return models  # pydantic says what it should be
        for name, said in models.items():
            try:
                read_source(said)
            except ValueError as error:
                raise ValueError(f"{name!r}: {error}") from error
        return {name: said if isinstance(said, str) else read_source(said) for name, said in models.items()}

    @field_validator("preprocessors")
    @classmethod
    def _people_can_be_found(cls, preprocessors: dict[str, str]) -> dict[str, str]:
        if len(preprocessors.keys() & {"pose", "person"}) == 1:
            raise ValueError("poses are of people that are found first: name both pose and person, or neither")
        return preprocessors

    @field_validator("models")
    @classmethod
    def _some_model(cls, models: dict[str, str | BaseSource]) -> dict[str, str | BaseSource]:
        if not models:
            raise ValueError("name at least one base model")
        for name in models:
            judge_name(name)
        return models

    @model_validator(mode="after")
    def _default_is_there(self) -> Self:
        if self.model not in self.models:
            raise ValueError(
                f"{variable('default_model')}: {self.model!r} is not one of the models: {', '.join(self.models)}"
            )
        return self

    @cached_property
    def model(self) -> str:
        """Name of the model of requests that name none."""
        return self.default_model or next(iter(self.models))

    def base(self, name: str) -> BaseSource:
        """Where the base called `name` comes from; raises KeyError."""
        said = self.models[name]
        return said if isinstance(said, BaseSource) else BaseSource(said)

    def named_by(self, name: str) -> str:
        """What names a model that is known: the file in the data folder, the default or the environment."""
        named = ModelsFile(self.data_dir)
        said = named.read().get(name)
        if said is not None and read_source(said) == self.base(name):
            return str(named.path)
        default = type(self).model_fields["models"].default
        return "the default" if default.get(name) == self.models[name] else variable("models")

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


def read_settings(**given: Any) -> Settings:
    """The settings as the environment has them, but for those given.

    Raises BadSettings with a sentence for every variable that is wrong.
    """
    if wrong := list(mistakes(os.environ, Settings.model_fields)):
        raise BadSettings("; ".join(wrong))
    try:
        return Settings(**given)
    except ValidationError as error:
        raise BadSettings(
            "; ".join(_sentence(one["loc"], one["msg"], one["type"], one["input"]) for one in error.errors())
        ) from error
    except SettingsError as error:  # of a field that is written in JSON
        name = next(name for name in Settings.model_fields if f'"{name}"' in str(error))
        example = Settings.model_fields[name].get_default(call_default_factory=True)
        raise BadSettings(f"{variable(name)}: it is not JSON; it looks like {json.dumps(example)}") from error


def serving_settings(**given: Any) -> Settings:
    """The same for a program that uses the folders, set or not: they can be made and written."""
    settings = read_settings(**given)
    try:
        try_folder(settings.data_dir)
    except ValueError as error:
        raise BadSettings(f"{variable('data_dir')}: {error}") from error
    return settings


def _sentence(place: tuple[int | str, ...], message: str, kind: str, given: object) -> str:
    message = message.removeprefix(SAID)
    if not place:  # of the settings as a whole: it names the variable itself
        return message
    field = str(place[0])
    secret = "Secret" in str(Settings.model_fields[field].annotation)
    return f"{variable(field)}: {message}" + ("" if secret or kind == "value_error" else f", not {given!r}")
