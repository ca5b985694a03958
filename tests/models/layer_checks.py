"""Checks that every layer must pass, whatever it computes; a layer's own test adds its numbers and formulas.

`inputs` are float32 tensors of small sizes. `forward` is whatever maps them to one tensor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def awake(layer: nn.Module) -> nn.Module:
    """The layer with random parameters, so that no zero at initialisation hides a mistake."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return layer


def check_formula(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """`actual` (float32) equals an independent float64 `expected`, to `tolerance` of its largest value."""
    assert expected.dtype == torch.float64, "write the expected value in float64"
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    error = (actual.double() - expected).abs().max() / expected.abs().max().clamp_min(1e-12)
    assert error <= tolerance, f"relative error {error.item():.2e} > {tolerance:.0e}"


def check_gradient(layer: nn.Module, *inputs: Tensor) -> None:
    """Analytic gradients, of the inputs and of the parameters, equal finite differences in float64."""
    layer = layer.double()
    doubles = [value.detach().double().requires_grad_() for value in inputs]
    parameters = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}

    def forward(*values: Tensor) -> Tensor:
        own = dict(zip(parameters, values[len(doubles) :], strict=True))
        return torch.func.functional_call(layer, own, values[: len(doubles)])

    assert torch.autograd.gradcheck(forward, (*doubles, *parameters.values()))


def check_autocast(layer: nn.Module, *inputs: Tensor) -> None:
    """Under bfloat16 autocast, on bfloat16 maps as a convolution before gives them, output and gradients are
    finite and the output is near that of float32."""
    leaves = [value.detach().bfloat16().requires_grad_() for value in inputs]
    with torch.no_grad():
        exact = layer(*(value.float() for value in leaves))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(*leaves)
    output.float().square().sum().backward()
    assert output.isfinite().all()
    error = (output.float() - exact).abs().max() / exact.abs().max().clamp_min(1e-12)
    assert error < 0.1, f"bfloat16 output is off by {error.item():.1%}"
    for name, value in [*((f"input {i}", v) for i, v in enumerate(leaves)), *layer.named_parameters()]:
        if value.grad is not None:
            assert value.grad.isfinite().all(), f"gradient of {name} is not finite"
    layer.zero_grad()


def check_compile(layer: nn.Module, *inputs: Tensor, backend: str = "aot_eager") -> None:
    """`torch.compile` without graph breaks gives the same values and input gradients.

    `aot_eager` traces forward and backward as the default backend does, but generates no code (seconds saved
    per layer).
    """
    torch.compiler.reset()
    compiled = torch.compile(layer, backend=backend, fullgraph=True)

    def values_and_gradients(forward: Callable[..., Tensor]) -> list[Tensor]:
        leaves = [value.detach().clone().requires_grad_() for value in inputs]
        output = forward(*leaves)
        return [output, *torch.autograd.grad(output.square().sum(), leaves)]

    for actual, expected in zip(values_and_gradients(compiled), values_and_gradients(layer), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def check_state_dict(make_layer: Callable[[], nn.Module], *inputs: Tensor) -> None:
    """A second layer (other random state), given the first one's state dict, computes the same."""
    first = awake(make_layer())
    torch.manual_seed(torch.initial_seed() + 1)
    second = make_layer()
    second.load_state_dict(first.state_dict(), strict=True)
    torch.testing.assert_close(second(*inputs), first(*inputs), rtol=0, atol=0)
