"""Arithmetic that bilinear pooling and bilinear fusion share (Lin et al. 2015; Gao et al. 2016)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

ROUNDING = 8  # bound of an FFT sketch's rounding error, in ε; up to 3.2 measured (1-16,000 bins, 64-2,048 channels)


def bilinear(a: Float[Tensor, "n ca h w"], b: Float[Tensor, "n cb h w"]) -> Float[Tensor, "n ca cb"]:
    """Returns the sum over all locations of the outer product of both descriptors there, as one matrix product.

    The n x ca x cb x h x w tensor of single outer products is never made. Raises ValueError if the maps differ
    in size.

    >>> bilinear(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 4.0]]]]))  # 1 * 3 + 2 * 4
    tensor([[[11.]]])
    """
    check_same_size(a, b)
    return a.flatten(2) @ b.flatten(2).transpose(1, 2)


def check_same_size(a: Float[Tensor, "n ca h1 w1"], b: Float[Tensor, "n cb h2 w2"]) -> None:
    if a.shape[2:] != b.shape[2:]:
        raise ValueError(f"maps of {tuple(a.shape[2:])} and {tuple(b.shape[2:])} cells: needs equal sizes")


def signed_sqrt(z: Float[Tensor, "*shape"], eps: float = 1e-5) -> Float[Tensor, "*shape"]:
    """Returns sign(z) * sqrt(|z| + eps), which reduces large values and keeps signs and zeros.

    eps bounds the gradient by 1 / (2 sqrt(eps)); with eps = 0 the gradient is NaN at z = 0.
    """
    return torch.sign(z) * torch.sqrt(z.abs() + eps)


def l2_normalise(z: Float[Tensor, "*shape"], dim: int = -1, eps: float = 1e-12) -> Float[Tensor, "*shape"]:
    """Returns z divided by its L2 norm along `dim`; 0, with gradient 0, if the squared norm is not above eps.

    Dividing by |z| + eps or max(|z|, eps) instead would give a gradient of 1 / eps there, by default 1e12.
    """
    squared = z.square().sum(dim, keepdim=True)
    return z * torch.where(squared > eps, squared.clamp(min=eps).rsqrt(), 0)


def signed_sqrt_l2(z: Float[Tensor, "n d"], eps: float = 1e-5) -> Float[Tensor, "n d"]:
    """Takes the signed square root, then makes each row's L2 norm 1, as a linear classifier of bilinear features needs.

    Computes in at least float32 and returns the dtype of `z`.
    """
    return l2_normalise(signed_sqrt(at_least_float32(z), eps)).to(z.dtype)


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Converts half precision to float32; leaves float32 and float64 as they are.

    >>> [at_least_float32(torch.ones(1, dtype=kind)).dtype for kind in (torch.bfloat16, torch.float64)]
    [torch.float32, torch.float64]
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Turns autocast off inside the block; does nothing on a device without autocast (`meta`)."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class TensorSketch(nn.Module):
    """Projects two maps' bilinear matrix randomly to `dimension` numbers (Gao et al. 2016, Tensor Sketch).

    The product of channels i and j is added to bin (hash_a[i] + hash_b[j]) mod dimension with the sign
    sign_a[i] * sign_b[j], and bins are summed over locations: this is the circular convolution of two count sketches.
    For single descriptors the expectation over the hashes is E<sketch(a, b), sketch(a', b')> = <a, a'> <b, b'>. The
    hashes are buffers: drawn from `seed`, never trained, saved in the state dict.

    (n, channels_a, h, w) and (n, channels_b, h, w) -> (n, dimension); without signed square root and norm.
    Raises ValueError for a dimension < 1 and for maps of different sizes.
    """

    def __init__(self, channels_a: int, channels_b: int, dimension: int = 8192, seed: int = 0) -> None:
        super().__init__()
        if dimension < 1:
            raise ValueError(f"dimension={dimension}: a sketch needs at least one bin")
        self.out_channels = self.dimension = dimension
        random = torch.Generator().manual_seed(seed)
        for name, channels in (("a", channels_a), ("b", channels_b)):
            self.register_buffer(f"hash_{name}", torch.randint(dimension, (channels,), generator=random))
            self.register_buffer(f"sign_{name}", 2.0 * torch.randint(2, (channels,), generator=random) - 1)

    hash_a: Int[Tensor, " ca"]
    hash_b: Int[Tensor, " cb"]
    sign_a: Float[Tensor, " ca"]
    sign_b: Float[Tensor, " cb"]

    def forward(self, a: Float[Tensor, "n ca h w"], b: Float[Tensor, "n cb h w"]) -> Float[Tensor, "n d"]:
        check_same_size(a, b)
        with without_autocast(a.device):  # an FFT, and sums of thousands of products
            wide_a, wide_b = at_least_float32(a), at_least_float32(b)
            # Both ways give the same, except that `convolve` rounds tiny bins to 0. Take the one of the smaller tensor.
            folds = a.shape[1] * b.shape[1] <= a.shape[2] * a.shape[3] * self.dimension
            return (self.fold(wide_a, wide_b) if folds else self.convolve(wide_a, wide_b)).to(a.dtype)

    def fold(self, a: Float[Tensor, "n ca h w"], b: Float[Tensor, "n cb h w"]) -> Float[Tensor, "n d"]:
        """Computes the bilinear matrix of all locations, n x ca x cb, then adds its entries into their bins."""
        signed = bilinear(a * self.sign_a.to(a)[:, None, None], b * self.sign_b.to(b)[:, None, None])
        bins = (self.hash_a[:, None] + self.hash_b) % self.dimension
        return a.new_zeros(a.shape[0], self.dimension).index_add(1, bins.flatten(), signed.flatten(1))

    def convolve(self, a: Float[Tensor, "n ca h w"], b: Float[Tensor, "n cb h w"]) -> Float[Tensor, "n d"]:
        """Multiplies the spectra per location, n x h x w x dimension, sums over locations, and inverts the sum.

        The FFTs spread rounding errors over all bins. In an empty bin a signed square root would make ±.003 of such an
        error. So bins that are not larger than the error's bound become 0: ROUNDING times the machine's ε times the sum
        over locations of the product of both count sketches' norms. A bin that is not empty is about
        1 / sqrt(dimension) of that sum.
        """
        sketch_a = self._count_sketch(a, self.hash_a, self.sign_a)
        sketch_b = self._count_sketch(b, self.hash_b, self.sign_b)
        spectrum = (torch.fft.rfft(sketch_a, dim=1) * torch.fft.rfft(sketch_b, dim=1)).sum(2)
        found = torch.fft.irfft(spectrum, n=self.dimension, dim=1)  # without n, an odd dimension loses a number
        with torch.no_grad():
            norms = (sketch_a.norm(dim=1) * sketch_b.norm(dim=1)).sum(1, keepdim=True)
            resolved = found.abs() > ROUNDING * torch.finfo(a.dtype).eps * norms
        return torch.where(resolved, found, 0.0)

    def _count_sketch(
        self, x: Float[Tensor, "n c h w"], bins: Int[Tensor, " c"], sign: Float[Tensor, " c"]
    ) -> Float[Tensor, "n d hw"]:
        locations = x.flatten(2)
        sketch = x.new_zeros(x.shape[0], self.dimension, locations.shape[2])
        return sketch.index_add(1, bins, locations * sign.to(x)[:, None])
