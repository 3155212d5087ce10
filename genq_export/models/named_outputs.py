"""Networks that give tensors by name, around those that give them in some other form."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from genq_export.network.outputs import LOGITS, Answer


class NamedOutputs(nn.Module):
    """float32 [B, C, H, W] -> the tensors that are outputs, by name; logits alone as they are.

    Args:
        network: what computes them.
        names: by name the keys and places that lead to each in what it returns.
    """

    def __init__(self, network: nn.Module, names: Mapping[str, tuple[Any, ...]]) -> None:
        super().__init__()
        self.network = network
        self.names = dict(names)

    def forward(self, x: Tensor) -> Answer:
        """Pick them."""
        answer = self.network(x)
        found = {name: _at(answer, path) for name, path in self.names.items()}
        return found[LOGITS] if list(found) == [LOGITS] else found

    def extra_repr(self) -> str:
        """What is picked decides what the network is."""
        return str(self.names)


class InnerOutputs(nn.Module):
    """float32 [B, C, H, W] -> {"": what the network returns, PATH: what the module of that path returns}."""

    def __init__(self, network: nn.Module, paths: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.paths = tuple(paths)

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Run the whole network; what is then not read falls out of its graph."""
        seen: dict[str, Any] = {}
        handles = [self.network.get_submodule(path).register_forward_hook(_keeping(seen, path)) for path in self.paths]
        try:
            answer = self.network(x)
        finally:
            for handle in handles:
                handle.remove()
        return {"": answer, **{path: seen[path] for path in self.paths}}

    def extra_repr(self) -> str:
        """What is picked decides what the network is."""
        return str(self.paths)


def _keeping(seen: dict[str, Any], path: str) -> Any:
    def keep(_module: nn.Module, _inputs: object, result: Any) -> None:
        seen[path] = result

    return keep


def _at(answer: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        answer = answer[key]
    return answer
