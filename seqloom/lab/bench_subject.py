"""One model of a bench: its calls at the length it is set to, and what is known of it so far.

A model that needs a source reads the same tokens with its encoder first, as long as what it then goes through.
"""

from collections.abc import Callable

import numpy as np
import torch

from seqloom.core.types import FRESH, State
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.model.mixer import Memory
from seqloom.model.model import Model
from seqloom.zoo.architecture import Architecture, count_parameters, fit_width

PHASES = ("train_step_s", "prefill_s", "decode_token_s")


class Subject:
    """One model, with its calls at the length it is set to."""

    def __init__(
        self, name: str, architecture: Architecture, parameters: int, vocabulary: int, device: torch.device, seed: int
    ) -> None:
        frontend, head = Tokens(vocabulary=vocabulary), NextToken(vocabulary=vocabulary)
        source = frontend if architecture.needs == "source" else None
        fitted = fit_width(architecture, frontend, head, True, parameters, source)
        spec = fitted.model(frontend, head, True, source)
        self.name, self.family, self.digest = name, fitted.family, spec.digest()
        self.parameters = count_parameters(spec, embeddings=False)
        self.model: Model = spec.build(seed).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.device, self.vocabulary, self.seed = device, vocabulary, seed
        self.tokens = torch.zeros(0, 0, dtype=torch.int64)
        self.state: State = FRESH
        self.lap_s: dict[int, float] = {}  # length -> seconds of one call of each phase
        self.live_bytes: dict[int, float] = {}
        self.threads: dict[tuple[str, int], int] = {}  # (phase, length) -> CPU threads behind its samples
        self.samples: dict[str, dict[int, np.ndarray]] = {phase: {} for phase in PHASES}

    def set(self, batch: int, length: int) -> None:
        """Draw tokens (batch, length), and read them for decoding to go on."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(self.vocabulary, (batch, length + 1), generator=generator)
        self.tokens = drawn.to(self.device)
        self.model.eval()
        self.state = self.prefill()

    def clear(self) -> None:
        """Let go of what belongs to a length."""
        self.tokens, self.state = self.tokens[:, :0], FRESH
        self.optimizer.zero_grad()

    def train_step(self) -> None:
        """Forward, backward, update."""
        self.optimizer.zero_grad()
        output, _ = self.model(self.tokens[:, :-1], memory=self.memory())
        self.model.head.loss(output, self.tokens[:, 1:]).backward()
        self.optimizer.step()

    def prefill(self) -> State:
        """Read the prompt; return the state after it."""
        with torch.no_grad():
            return self.model(self.tokens[:, :-1], FRESH, memory=self.memory())[1]

    def memory(self) -> Memory | None:
        """Return what the model's encoder makes of the tokens; None where there is none."""
        return None if self.model.encoder is None else self.model.encode(self.tokens[:, :-1])

    def decode(self) -> None:
        """Read one token after the prompt; the state stays, so every call does the same."""
        with torch.no_grad():
            self.model(self.tokens[:, -1:], self.state)

    def call(self, phase: str) -> Callable[[], object]:
        """Return the call that a phase times, the model in the mode for it."""
        self.model.train(phase == "train_step_s")
        return {"train_step_s": self.train_step, "prefill_s": self.prefill, "decode_token_s": self.decode}[phase]

    def flops(self, phase: str, batch: int, length: int) -> int:
        """Return the matrix FLOPs of a call; a backward pass counts twice the forward pass."""
        times = {"train_step_s": 3, "prefill_s": 1}.get(phase, 0)
        return times * self.model.cost(batch, length).flops if times else 0
