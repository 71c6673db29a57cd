"""What RADIATA_REDIS_URL says is read as a whole, or refused with a sentence that does not tell its password."""

import pytest

from app.shared.redis_url import RedisUrl, read_url
from app.shared.settings import BadSettings, read_settings


@pytest.mark.parametrize(
    ("url", "means"),
    [
        ("redis://host", RedisUrl("redis", {"host": "host"})),
        (
            "rediss://me:p%40ss@host:1/2?ssl_ca_certs=/ca",
            RedisUrl(
                "rediss",
                {"ssl_ca_certs": "/ca", "username": "me", "password": "p@ss", "host": "host", "port": 1, "db": 2},
            ),
        ),
        ("unix:///a%20b", RedisUrl("unix", {"path": "/a b"})),
        (
            "redis+sentinel://me:pass@one,[::1]:5/my%20masters/3?sentinel_password=other",
            RedisUrl(
                "redis",
                {"username": "me", "password": "pass", "db": 3},
                (("one", 26379), ("::1", 5)),
                "my masters",
                {"password": "other"},
            ),
        ),
        (
            "rediss+sentinel://one:1/m?ssl_ca_certs=/ca",
            RedisUrl(
                "rediss", {"ssl_ca_certs": "/ca", "db": 0}, (("one", 1),), "m", {"ssl_ca_certs": "/ca", "ssl": True}
            ),
        ),
    ],
)
def test_a_url_is_read_as_a_whole(url: str, means: RedisUrl) -> None:
    assert read_url(url) == means


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://:hunter2@a:1,b:2/0", "names several servers"),
        ("redis-cluster://:hunter2@a:1", "Cluster"),
        ("redis+cluster://:hunter2@a:1", "Cluster"),
        ("redis+sentinel://:hunter2@a:1", "names the service"),
        ("redis+sentinel://:hunter2@a:1/m/n", "names the service"),
        ("redis+sentinel://:hunter2@a:1,/m", "one after the other"),
        ("unix+sentinel://:hunter2@a:1/m", r"rediss\+sentinel"),
        ("http://:hunter2@a:1", "schemes"),
        ("redis:", "of the form"),
        ("unix:", "of the form"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_sentence_without_its_password(
    url: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIATA_REDIS_URL", url)
    with pytest.raises(BadSettings, match=why) as told:
        read_settings()
    assert "hunter2" not in str(told.value) and "hunter2" not in repr(read_url("redis://:hunter2@a"))
