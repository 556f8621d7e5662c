"""AdamW (Loshchilov and Hutter, 2019) over a network's parameters as one vector.

Torch's own would import torch's whole compiler first, which takes longer than a short training's first hundred steps.
"""

from __future__ import annotations

import torch
from torch import nn

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class AdamW:
    """Adam with decoupled weight decay and the gradient's norm held at `norm_max`; it moves the parameters into one vector."""

    def __init__(self, network: nn.Module, *, weight_decay: float, norm_max: float) -> None:
        """Take over a network's parameters, which become views of one vector on their device."""
        self._parameters = list(network.parameters())
        self._weight_decay, self._norm_max, self._steps = weight_decay, norm_max, 0
        self._vector = torch.cat([p.detach().flatten() for p in self._parameters])
        self._mean, self._square = torch.zeros_like(self._vector), torch.zeros_like(self._vector)
        start = 0
        for parameter in self._parameters:
            parameter.data = self._vector[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the parameters against their gradients at a learning rate, and forget the gradients."""
        gradient = torch.cat(
            [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in self._parameters]
        )
        gradient *= (self._norm_max / (gradient.norm() + 1e-6)).clamp(max=1.0)
        self._steps += 1
        self._mean.lerp_(gradient, 1 - _BETA_1)
        self._square.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
        spread = (self._square / (1 - _BETA_2**self._steps)).sqrt_().add_(_EPSILON)
        self._vector.mul_(1 - rate * self._weight_decay)
        self._vector.addcdiv_(self._mean, spread, value=-rate / (1 - _BETA_1**self._steps))
        for parameter in self._parameters:
            parameter.grad = None
