"""What `make install` installs serves: a family is loaded and drawn with where nothing else can be imported.

Tests run beside packages that users do not have (PEFT brought accelerate for years), so this one has a view of the
environment with the requirements of `radiata[local]`, of theirs, and no more.
"""

import subprocess
import sys
import tomllib
from importlib import metadata
from io import BytesIO
from itertools import chain
from pathlib import Path

import pytest
import sentencepiece
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.families.tokenizers import WORDS
from tests.families.wan import wan21
from workers.drawing.recipe import LIBRARIES_OF
from workers.models.describing import LIBRARIES

pytestmark = [pytest.mark.service, pytest.mark.slow]

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DRAW = """
import sys
from importlib.util import find_spec
assert find_spec("peft") is None and find_spec("pytest") is None, "the view has more than users have"
from app.shared.settings import Settings
from app.shared.wire.generation import ResolvedRequest
from workers.drawing.sampling import Sampling
from workers.models.loading import load
base = load("wan", Settings(models={"wan": sys.argv[1]}, device="cpu", threads=1))
fields = {"model": "wan", "adapters": [], "width": 64, "height": 64, "steps": 2, "guidance_scale": 3.0, "seed": 1}
request = ResolvedRequest.model_validate({"prompt": "a red apple"} | fields)
print(Sampling(base).picture(request, 1, lambda step: None).size, base.profile.tokens)
"""


def required(extra: str) -> set[str]:
    """Names of the distributions that an extra of ours requires, in turn; ours as `pyproject.toml` has them now."""
    own = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    found: set[tuple[str, str]] = set()
    waiting = [("radiata", ""), ("radiata", extra)]
    while waiting:
        name, of = waiting.pop()
        if (name, of) in found:
            continue
        found.add((name, of))
        texts = own[of] if name == "radiata" else metadata.distribution(name).requires or []
        for one in map(Requirement, texts):
            if one.marker is None or one.marker.evaluate({"extra": of}):
                waiting += [(canonicalize_name(one.name), "")]
                waiting += [(canonicalize_name(one.name), wanted) for wanted in one.extras]
    return {name for name, _ in found}


def view(folder: Path, names: set[str]) -> None:
    """Link everything that distributions have installed, and what says so, into a folder to import from."""
    for name in names:
        distribution = metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            source, link = Path(str(distribution.locate_file(top))), folder / top
            if source.exists() and not link.exists() and source.suffix != ".pth":
                link.symlink_to(source)


def spelled_by_sentencepiece(tokenizer: Path) -> None:
    """Leave of a tokenizer what older folders have: the file of sentencepiece alone."""
    trained = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 20),
        model_writer=trained,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (tokenizer / "tokenizer.json").unlink()
    (tokenizer / "spiece.model").write_bytes(trained.getvalue())


def test_what_decides_pixels_is_installed_for_users_too() -> None:
    assert {*LIBRARIES, *chain(*LIBRARIES_OF.values())} <= required("local")


def test_a_family_is_served_where_only_what_make_install_installs_can_be_imported(tmp_path: Path) -> None:
    wan21(tmp_path / "wan")
    spelled_by_sentencepiece(tmp_path / "wan" / "tokenizer")
    names = required("local")
    assert {"accelerate", "sentencepiece", "protobuf", "diffusers"} <= names
    assert not {"peft", "pytest", "torchvision"} & names
    (tmp_path / "view").mkdir()
    view(tmp_path / "view", names)
    drawn = subprocess.run(
        [sys.executable, "-S", "-c", DRAW, str(tmp_path / "wan")],  # without site: nothing but the view
        env={"PYTHONPATH": f"{tmp_path / 'view'}:{ROOT}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout.splitlines()[-1] == "(64, 64) {'text_encoder': 512}"
