"""A graph as nodes and links, each input of the kind that its node takes; what is none is refused at its place."""

from collections.abc import Mapping
from typing import Any, NoReturn

from app.faces.comfy.nodes import NODES, OUTPUTS
from app.http.faults import meant, quoted, refusal

MOST_NODES = 256


def wrong(node: str, field: str, code: str, message: str, allowed: Any = None) -> NoReturn:
    """Raise BadRequest for an input of a node."""
    raise refusal([node, "inputs", field], code, message, allowed)


class Graph:
    """The nodes of a request, by their ids; raises BadRequest."""

    def __init__(self, said: Any) -> None:
        if not isinstance(said, dict) or not said:
            raise refusal(["prompt"], "no_prompt", "prompt is a graph: an object of nodes by their ids")
        if "nodes" in said and "links" in said:
            message = "this is a graph as the editor saves it; send what it exports as API format"
            raise refusal(["prompt"], "workflow_format_ui", message)
        if len(said) > MOST_NODES:
            raise refusal(["prompt"], "prompt_too_large", f"a graph has at most {MOST_NODES} nodes here")
        self._nodes: dict[str, Mapping[str, Any]] = {}
        for node, one in said.items():
            self._nodes[str(node)] = self._read(str(node), one)
        for node, one in self._nodes.items():
            self._judge(node, one)

    def kind(self, node: str) -> str:
        """The class of a node."""
        return str(self._nodes[node]["class_type"])

    def value(self, node: str, field: str) -> Any:
        """What an input says, or what it is where it says nothing."""
        default = NODES[self.kind(node)].values[field][1]
        return self._nodes[node]["inputs"].get(field, default)

    def source(self, node: str, field: str) -> str:
        """The node that an input comes from."""
        return str(self._nodes[node]["inputs"][field][0])

    def place(self, node: str, field: str) -> int:
        """Which output of that node it is."""
        return int(self._nodes[node]["inputs"][field][1])

    def outputs(self) -> list[str]:
        """The nodes that show pictures."""
        return [node for node in self._nodes if self.kind(node) in OUTPUTS]

    def title(self, node: str) -> str:
        """How people call a node."""
        return f"{self.kind(node)} {quoted(node)}"

    def _read(self, node: str, one: Any) -> Mapping[str, Any]:
        kind = one.get("class_type") if isinstance(one, dict) else None
        if not isinstance(kind, str) or not isinstance(one.get("inputs"), dict):
            message = f"node {quoted(node)} is none: it has a class_type and inputs"
            raise refusal([node], "invalid_prompt", message)
        if kind not in NODES:
            message = f"node {quoted(node)} is a {quoted(kind)}, which is not read here{meant(kind, NODES)}; "
            message += "docs/faces/comfy.md has those that are"
            raise refusal([node, "class_type"], "missing_node_type", message, sorted(NODES))
        return one

    def _judge(self, node: str, one: Mapping[str, Any]) -> None:
        takes, inputs = NODES[one["class_type"]], one["inputs"]
        for field in inputs:
            if field not in takes.links and field not in takes.values:
                wrong(node, field, "invalid_input", f"{self.title(node)} takes no {quoted(str(field))}; leave it out")
        for field, gives in takes.links.items():
            if field in inputs:
                self._judge_link(node, field, inputs[field], gives)
            elif field not in takes.optional:
                wrong(node, field, "required_input_missing", f"{self.title(node)} needs {field}")
        for field, (kind, default) in takes.values.items():
            if field not in inputs:
                if default is ...:
                    wrong(node, field, "required_input_missing", f"{self.title(node)} needs {field}")
                continue
            said = inputs[field]
            fits = isinstance(said, (int, float) if kind is float else kind) and not isinstance(said, bool)
            if not fits and not (kind is int and isinstance(said, float) and said.is_integer()):
                wrong(node, field, "invalid_input_type", f"{field} of {self.title(node)} is a {kind.__name__}")

    def _judge_link(self, node: str, field: str, said: Any, gives: str) -> None:
        ok = isinstance(said, list) and len(said) == 2 and isinstance(said[0], str | int) and isinstance(said[1], int)
        ok = ok and str(said[0]) in self._nodes
        given = NODES[self._nodes[str(said[0])]["class_type"]].gives if ok else ()
        if not ok or not 0 <= said[1] < len(given) or given[said[1]] != gives:
            message = f"{field} of {self.title(node)} is a {gives} of another node: [its id, the place of the output]"
            wrong(node, field, "bad_linked_input", message)
