"""One family after the other, each built and loaded once, over a Valkey and a store of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from diffusers.pipelines.qwenimage21 import pipeline_qwenimage21

from tests.families.registry import FAMILIES
from tests.families.serving import Diffusers, Served, serving

# A UNet, embedded guidance, true CFG, no callback after a step, two denoisers and films; all by `--every`
IN_THE_GATE = ("sd-1.5", "flux.1-dev", "qwen-image", "pixart-sigma", "wan-2.2")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of the suite over the families that are asked for."""
    if "family" in metafunc.fixturenames:
        here = vars(metafunc.module)  # which may be about some families alone
        every, gate = here.get("EVERY", FAMILIES), here.get("IN_THE_GATE", IN_THE_GATE)
        names = [*(every if metafunc.config.getoption("every") else gate)]
        metafunc.parametrize("family", names, ids=names, scope="module", indirect=True)


@pytest.fixture(scope="module", autouse=True)
def small_references() -> Iterator[None]:
    """Qwen-Image-Edit scales every picture that it is shown to a megapixel; here to a 64th of that."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus, pipeline_qwenimage21):
            own = module.calculate_dimensions

            def smaller(area: float, ratio: float, own: Any = own) -> Any:
                return own(area / 64, ratio)

            patch.setattr(module, "calculate_dimensions", smaller)
        yield


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> str:
    """Name of the family at hand."""
    return request.param


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    path = tmp_path_factory.mktemp("family") / family
    FAMILIES[family].build(path)
    return path


@pytest.fixture(scope="module")
def served(
    family: str, folder: Path, _valkey_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """It, as the service serves it."""
    with serving(FAMILIES[family], folder, tmp_path_factory.mktemp("store"), _valkey_server) as one:
        yield one


@pytest.fixture(scope="module")
def diffusers(family: str, folder: Path) -> Diffusers:
    """It, as diffusers opens and calls it."""
    return Diffusers(FAMILIES[family], folder)
