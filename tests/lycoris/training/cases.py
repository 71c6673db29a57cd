"""One plan for every way in which an algorithm can begin, and the factors that its first step moves."""

from typing import Any, NamedTuple

from lycoris.training.plan import Plan, plan
from lycoris.training.table import ALGORITHMS, TRAINABLE

RANK, ALPHA = 2, 3.0


class Case(NamedTuple):
    """An algorithm with options, and the suffixes of the factors that are not multiplied by a zero at the beginning."""

    algorithm: str
    first: frozenset[str]
    options: dict[str, Any]

    def plan(self, **more: Any) -> Plan:
        """Return the plan, of a small rank and of an alpha that is another number, where the algorithm takes them."""
        facts = ALGORITHMS[self.algorithm]
        numbers: dict[str, Any] = {"rank": RANK} if facts.rank else {}
        numbers |= {"alpha": ALPHA} if facts.alpha else {}
        numbers |= {"options": self.options} | more
        return plan(self.algorithm, **numbers)


def case(algorithm: str, *first: str, **options: Any) -> Case:
    return Case(algorithm, frozenset(first), options)


CASES = {
    "lora": case("lora", "lora_up.weight"),
    "lora-stabilised": case("lora", "lora_up.weight", rank_stabilised=True),
    "locon": case("locon", "lora_up.weight"),
    "locon-conv": case("locon", "lora_up.weight", conv_rank=1, conv_alpha=0.5),
    "locon-tucker": case("locon", "lora_up.weight", tucker=True),
    "dora": case("dora", "lora_up.weight", "dora_scale"),
    "dora-loha": case("dora", "hada_w2_a", "dora_scale", over="loha"),
    "dora-lokr": case("dora", "lokr_w2", "lokr_w2_b", "dora_scale", over="lokr"),
    "loha": case("loha", "hada_w2_a"),
    "loha-tucker": case("loha", "hada_w2_a", tucker=True),
    "lokr": case("lokr", "lokr_w2", "lokr_w2_b", factor=2),
    "lokr-whole": case("lokr", "lokr_w2", full_matrix=True),
    "lokr-both": case("lokr", "lokr_w2", "lokr_w2_b", factor=-1, decompose_both=True),
    "lokr-tucker": case("lokr", "lokr_w2", "lokr_w2_b", tucker=True, factor=1),
    "glora": case("glora", "a2.weight", "b1.weight"),
    "hira": case("hira", "hira_B"),
    "ia3": case("ia3", "weight"),
    "ia3-input": case("ia3", "weight", on_input=True),
    "oft": case("oft", "oft_blocks"),
    "oft-rescaled": case("oft", "oft_blocks", "rescale", rescaled=True, constraint=0.02),
    "boft": case("boft", "oft_blocks"),
    "boft-rescaled": case("boft", "oft_blocks", "rescale", rescaled=True),
    "hra": case("hra", "hra_u"),
    "vera": case("vera", "vera_lambda_b"),
    "fourierft": case("fourierft", "fourierft_spectrum", frequencies=20),
    "c3a": case("c3a", "c3a_kernel"),
    "full": case("full", "diff"),
    "full-bias": case("full", "diff", "diff_b", bias=True),
    "norm": case("norm", "w_norm", "b_norm"),
}
NEARLY = frozenset({"hra"})  # begins as nothing but for rounding
assert {each.algorithm for each in CASES.values()} == set(TRAINABLE)
