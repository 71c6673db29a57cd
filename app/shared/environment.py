"""Names of environment variables: one that begins with `RADIATA_` and means nothing is a mistake, never passed over.

Kubernetes puts variables into every pod for each Service of its namespace; for one called `radiata` (or `radiata-…`)
they begin as ours do. They are nobody's mistake, but for one: the Service's address in place of our port.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches

from app.shared.exit_with_parent import VARIABLE as WITH_PARENT

PREFIX = "RADIATA_"
SOCKETS = "RADIATA_SOCKETS"  # set by the supervisor: descriptors of the sockets on which the API listens
URL = "RADIATA_URL"  # read by the command line: where the service is
KEY = "RADIATA_KEY"  # read by the command line: a key of the service
BESIDE_SETTINGS = (WITH_PARENT, SOCKETS, URL, KEY)
OF_KUBERNETES = re.compile(
    r"RADIATA_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
ADDRESS_OF_SERVICE = re.compile(r"(tcp|udp|sctp)://.*")


def variable(field: str) -> str:
    """Name of the variable of a field of Settings."""
    return PREFIX + field.upper()


def mistakes(environment: Mapping[str, str], fields: Collection[str]) -> Iterator[str]:
    """A sentence for each variable that begins as ours do and is none of them."""
    known = [*(variable(field) for field in fields), *BESIDE_SETTINGS]
    for name, value in sorted(environment.items()):
        if not name.upper().startswith(PREFIX):
            continue
        address = ADDRESS_OF_SERVICE.fullmatch(value)
        if name in known:
            if address:
                yield (
                    f"{name}: {value!r} is what Kubernetes says of a Service; set it in the pod, or set "
                    "enableServiceLinks: false there, or give the Service another name"
                )
            for key in _twice(value):
                yield f"{name}: {key!r} is in it twice; one of them would be dropped"
        elif not OF_KUBERNETES.fullmatch(name) and not (address and name.endswith("_PORT")):
            near = get_close_matches(name.upper(), known, n=1, cutoff=0)
            yield f"{name} is no setting; did you mean {near[0]}?"


def _twice(value: str) -> list[str]:
    """Return the keys that an object in JSON has more than once."""
    found: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        found.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)

    with suppress(RecursionError, ValueError):  # whoever reads the setting says so
        if value.lstrip().startswith("{"):
            json.loads(value, object_pairs_hook=note)
    return found
