"""Cost: what a computation asks of a machine, before any machine is named."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Work, traffic, memory and dependency of a computation.

    Costs add: `a + b` is a then b; `a.beside(b)` is a and b at once; `n * a` is n times a in a row.
    """

    flops: int = 0  # of matrix products only, 2 m n k each; what a FLOP counter sees
    bytes: int = 0  # moved between memory and processor at the least: parameters, inputs, outputs, states, once each
    state_bytes: int = 0  # held between calls for decoding to go on
    depth: int = 0  # longest chain of dependent matrix products or scan levels: time with unlimited processors
    messages: int = 0  # sent between processes

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            flops=self.flops + other.flops,
            bytes=self.bytes + other.bytes,
            state_bytes=self.state_bytes + other.state_bytes,
            depth=self.depth + other.depth,
            messages=self.messages + other.messages,
        )

    def beside(self, other: "Cost") -> "Cost":
        """Return the cost of both at once: all adds but depth, which is the longer of the two."""
        total = self + other
        return Cost(
            flops=total.flops,
            bytes=total.bytes,
            state_bytes=total.state_bytes,
            depth=max(self.depth, other.depth),
            messages=total.messages,
        )

    def __rmul__(self, times: int) -> "Cost":
        return Cost(
            flops=times * self.flops,
            bytes=times * self.bytes,
            state_bytes=times * self.state_bytes,
            depth=times * self.depth,
            messages=times * self.messages,
        )
