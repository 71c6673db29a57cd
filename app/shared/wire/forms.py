"""What a text of each pattern looks like, in a sentence: a pattern itself is for programs."""

from app.shared.wire.dataset import DATASET_PATTERN
from app.shared.wire.picture import IN_PATTERN
from app.shared.wire.picture import REF_PATTERN as PICTURE_PATTERN
from app.shared.wire.values import NAME_PATTERN, OWNED_REF_PATTERN, PAIR_PATTERN, REF_PATTERN, SHA256_PATTERN

FORMS = {  # of texts, by pattern
    NAME_PATTERN: "a name is 1 to 64 lower-case letters, digits, dots, hyphens and underscores; the first is a letter "
    "or a digit",
    REF_PATTERN: "an adapter is named as `name`, `name:version` or `sha256:` with 64 hex digits",
    OWNED_REF_PATTERN: "an adapter is named as `name`, `name:version` or `sha256:` with 64 hex digits; another's as "
    "`owner/name`",
    SHA256_PATTERN: "a sha256 is 64 hex digits, in lower case",
    PAIR_PATTERN: "a pair is a name, `=`, and the text that it has in `metadata`",
    DATASET_PATTERN: "a dataset is named as `POST /v1/datasets` answers it: `dataset:` with 64 hex digits",
    PICTURE_PATTERN: "a picture is named as `POST /v1/images` answers it: `image:` with 64 hex digits",
    IN_PATTERN: "a picture is `image:` with 64 hex digits, as `POST /v1/images` answers it, or a data URL",
}
