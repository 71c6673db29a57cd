"""`alwayson_scripts`: units of ControlNet become entries of `adapters`; another is refused, unless it is off."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from app.faces.a1111.request import data_url
from app.http.faults import fault, pointer
from app.shared.wire.map import STRONGEST, Preprocess

CONTROL = "controlnet"
OFF = (None, False)
# What makes a map, as the extension calls it -> as it is called here
MODULES: Mapping[str, Preprocess] = {
    **{one: one for one in get_args(Preprocess)},
    "openpose": "pose",
    "openpose_full": "pose",
    "dw_openpose_full": "pose",
    "depth_midas": "depth",
    "depth_anything": "depth",
    "depth_anything_v2": "depth",
}
NOTHING = (None, "", "None", "none")
# Settings of a unit -> values that ask for nothing, and why another is not obeyed
UNOBEYED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "mask": (NOTHING, "a control net is applied everywhere"),
    "mask_image": (NOTHING, "a control net is applied everywhere"),
    "effective_region_mask": (NOTHING, "a control net is applied everywhere"),
    "control_mode": (
        (None, 0, "Balanced"),
        "prompt and control net have the weight that their strengths give them",
    ),
    "hr_option": ((None, "Both", "HiResFixOption.BOTH"), "it is applied in both passes"),
    "guessmode": ((None, False), "it is Balanced"),
}
# Memory, sizes of maps (ours have the drawing's own size), and what is shown of them
MEANINGLESS = (
    *("low_vram", "lowvram", "processor_res", "pixel_perfect", "save_detected_map", "is_ui", "resize_mode"),
    *("batch_images", "input_mode", "batch_mask_dir", "output_dir", "loopback", "use_preview_as_input"),
    *("generated_image", "inpaint_crop_input_image"),
)
OBEYED = ("enabled", "image", "input_image", "model", "module", "weight", "guidance_start", "guidance_end")
THRESHOLDS = ("threshold_a", "threshold_b")
OWN = (None, -1)  # thresholds that leave it to the module
NUMBERS = ("weight", "guidance_start", "guidance_end")
# Of an entry of `adapters` -> the setting of a unit that it comes of
THEIRS = {"ref": "model", "strength": "weight", "schedule": "guidance_start", "preprocess": "module"}
THEIRS |= {"thresholds": "threshold_a"}
KNOWN = (*OBEYED, *THRESHOLDS, *UNOBEYED, *MEANINGLESS)


def scripts(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what is wrong with scripts, those of a control net among them."""
    for name, script in said.items():
        place = pointer(["alwayson_scripts", name])
        args = script.get("args", []) if isinstance(script, dict) else None
        args = list(args.values()) if isinstance(args, dict) else args
        if not isinstance(args, list):
            yield fault(place, "not_obeyed", f"{name[:80]} has no args that are a list; send it as {{'args': []}}")
        elif name.lower() == CONTROL:
            for at, unit in enumerate(args):
                yield from _unit(f"{place}/args/{at}", unit)
        elif any(_is_on(one) for one in args):
            message = f"there is no script {name[:80]!r} here; switch it off, or leave it out"
            yield fault(place, "not_obeyed", message, ["controlnet"])


def _is_on(argument: Any) -> bool:
    """Whether an argument of a script that is not here asks for something: clients send scripts that are off."""
    if isinstance(argument, dict):
        return not any(argument.get(one, 1) in (False, "None") for one in ("enabled", "enable", "ad_model"))
    return argument not in OFF


def _unit(at: str, unit: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(unit, dict):
        yield fault(at, "not_obeyed", "a unit of a control net is an object")
        return
    if unit.get("enabled") is False:
        return
    if not isinstance(unit.get("enabled", True), bool):
        yield fault(f"{at}/enabled", "not_obeyed", "enabled is true or false")
    for name, value in unit.items():
        nothing, why = UNOBEYED.get(name, ((value,), ""))
        if name not in KNOWN:
            yield fault(f"{at}{pointer([name])}", "not_obeyed", f"there is no setting {name[:80]!r} of a unit here")
        elif value not in nothing:
            yield fault(f"{at}/{name}", "not_obeyed", f"{name} is not obeyed: {why}; leave it out")
    if unit.get("model") in NOTHING or not isinstance(unit.get("model"), str):
        yield fault(f"{at}/model", "not_obeyed", "a unit names a control net of GET /controlnet/model_list as model")
    if not isinstance(_image(unit), str) or not _image(unit):
        yield fault(f"{at}/image", "image_missing", "a unit has the picture that it reads as image, in base64")
    module = unit.get("module") or "none"
    if not isinstance(module, str) or module.lower() not in MODULES:
        message = f"there is no module {str(module)[:80]!r} here; GET /controlnet/module_list lists them"
        yield fault(f"{at}/module", "not_obeyed", message, sorted(set(MODULES.values())))
    elif MODULES[module.lower()] == "canny":
        try:
            edges([unit.get(one) for one in THRESHOLDS])
        except ValueError as error:
            yield fault(f"{at}/{THRESHOLDS[0]}", "not_obeyed", str(error))
    if any(isinstance(one, dict) and one.get("mask") for one in (unit.get("image"), unit.get("input_image"))):
        yield fault(f"{at}/image", "not_obeyed", "a control net is applied everywhere; send its picture without a mask")
    for name in NUMBERS:
        value = unit.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield fault(f"{at}/{name}", "not_obeyed", f"{name} is a number")
        elif name != "weight" and not 0 <= (value or 0) <= 1:
            yield fault(f"{at}/{name}", "not_obeyed", f"{name} is a fraction of the steps, from 0 to 1")


def edges(said: Sequence[Any]) -> list[int] | None:
    """Return the two thresholds of `canny`, or None for its own; raise ValueError with a sentence."""
    if all(one in OWN for one in said):
        return None
    found = [int(one) for one in said if isinstance(one, int | float) and one == one // 1 and 0 <= one <= STRONGEST]
    if len(found) < len(said) or found != sorted(found):
        raise ValueError(f"two whole numbers from 0 to {STRONGEST}, the lower one first; both -1 for those of canny")
    return found


def _units(said: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield units that are on, each with the pointer to it."""
    for name, script in said.items():
        args = script.get("args", []) if name.lower() == CONTROL else []
        for at, unit in enumerate(args.values() if isinstance(args, dict) else args):
            if unit.get("enabled") is not False:
                yield pointer(["alwayson_scripts", name, "args", at]), unit


def place_of(said: Mapping[str, Any], index: int, field: str) -> str:
    """Return the pointer to what a field of the entry of that index, as `control_of` has them, comes of."""
    place = [place for place, _ in _units(said)][index]
    return f"{place}/{THEIRS.get(field, field)}" if field else place


def control_of(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of `adapters` that the units of control nets mean, which `scripts` found sound."""
    entries: list[dict[str, Any]] = []
    for _, unit in _units(said):
        weight, last = unit.get("weight"), unit.get("guidance_end")
        first, last = unit.get("guidance_start") or 0, 1 if last is None else last
        entry: dict[str, Any] = {
            "ref": unit["model"].rpartition(" [")[0] or unit["model"],
            "strength": 1.0 if weight is None else weight,
            "image": data_url(_image(unit)),
            "preprocess": MODULES[(unit.get("module") or "none").lower()],
        }
        if (first, last) != (0, 1):
            before = [[0.0, 0.0]] if first else []
            entry["schedule"] = [*before, [first, entry["strength"]], *([[last, 0.0]] if last < 1 else [])]
        if entry["preprocess"] == "canny":
            entry["thresholds"] = edges([unit.get(one) for one in THRESHOLDS])
        entries.append(entry)
    return entries


def _image(unit: Mapping[str, Any]) -> Any:
    """The picture of a unit: in base64, or as an object that has it."""
    image = unit.get("image") or unit.get("input_image")
    return image.get("image") if isinstance(image, dict) else image
