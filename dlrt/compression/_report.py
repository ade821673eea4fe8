"""What a compression has done."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from dlrt.accounting.flops import describe_left_out


@dataclass(frozen=True)
class LayerReport:
    """What a compression has done with one layer.

    Args:
        name: Its name.
        type: Its type in the original model; for a kernel of a recurrent layer, the
            type of that layer.
        shape: Shape of its kernel.
        structure: The structure of the compression, "pointwise" for layers that it
            doesn't support; "dense" if the layer is unchanged.
        groups: Number of groups of input channels with a decomposition for each.
        ranks: Its rank, two for a Tucker decomposition; empty for a dense layer.
        error: `‖W - Ŵ‖_F / ‖W‖_F` of the kernel.
        bound: Bound of `‖W - Ŵ‖₂ / ‖W‖₂` with the spectral norm, from the singular
            values alone: `√groups` times the largest one left out, divided by the
            largest one of all (Liebenwein et al., 2021, arXiv:2107.11442, section 2);
            for a Tucker or CP decomposition `‖W - Ŵ‖_F` divided by that.
        degeneracy: For a CP decomposition, the sum of the squared norms of its
            components divided by `‖W‖_F²`: large if they cancel (Phan et al., 2020,
            arXiv:2008.05441); `None` otherwise.
        parameters_before: Parameters of the kernel.
        parameters: Parameters of its replacement.
        flops_before: Flops of its products, see `dlrt.accounting.flop_count`.
        flops: Flops of its replacement.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    structure: str
    groups: int
    ranks: tuple[int, ...]
    error: float
    bound: float
    degeneracy: float | None
    parameters_before: int
    parameters: int
    flops_before: int
    flops: int


@dataclass(frozen=True)
class Report:
    """What a compression has done with a model. `print` shows it as a table.

    Args:
        layers: The layers that could be compressed, in order.
        left_alone: Other layers with weights, by name, and why they are unchanged.
        parameters_before: Parameters before, see `dlrt.accounting.parameter_count`.
        parameters: Parameters now.
        flops_before: Flops before, see `dlrt.accounting.flop_count`.
        flops: Flops now.
        not_in_flops: Names and types of layers that flops leave out, since their
            products are unknown.
    """

    layers: tuple[LayerReport, ...]
    left_alone: Mapping[str, str]
    parameters_before: int
    parameters: int
    flops_before: int
    flops: int
    not_in_flops: Mapping[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Parameters before divided by parameters now."""
        return self.parameters_before / self.parameters

    def __str__(self) -> str:
        names = [field.name for field in fields(LayerReport)]
        shown = [
            name
            for name in names
            if any(getattr(x, name) is not None for x in self.layers)
        ]
        rows = [[name.replace("_", " ") for name in shown]]
        rows += [[_cell(getattr(row, name)) for name in shown] for row in self.layers]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines += [f"{name}: left alone, {why}" for name, why in self.left_alone.items()]
        for what in ("parameters", "flops"):
            before, after = getattr(self, f"{what}_before"), getattr(self, what)
            times = f" ({before / after:.2f} times fewer)" if after else ""
            lines.append(f"{what}: {before:,} before, {after:,} now{times}")
        if self.not_in_flops:
            unknown = describe_left_out(self.not_in_flops)
            lines.append(f"flops are without those of {unknown}")
        return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, tuple):
        return "×".join(map(str, value))
    return str(value)
