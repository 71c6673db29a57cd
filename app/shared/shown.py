"""A base's profile as people read it: on the command line of either side."""

from typing import Any

UNSHOWN = ("obeys", "fingerprint", "versions", "suggestions")  # of a profile; what it does not obey is shown


def shown(profile: dict[str, Any], default: str | None) -> dict[str, Any]:
    """Return a profile for people: what is the default is marked, and what is refused is named.

    default: name of the model of requests that name none.
    """
    said = {field: value for field, value in profile.items() if field not in UNSHOWN}
    if profile["name"] == default:
        said["name"] = f"{default} (default)"
    if modes := profile.get("apply_modes"):
        said["apply_modes"] = [f"{modes[0]} (default)", *modes[1:]]
    return said | {"refuses": [field for field, obeyed in profile.get("obeys", {}).items() if not obeyed]}
