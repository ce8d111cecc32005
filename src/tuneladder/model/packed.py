"""Rows side by side in one sequence: no token of padding passes through a model's matrices.

Only attention must know where a row ends. Here it gathers the rows into a grid, attends within each, and puts the answers back:
an attention implementation registered with transformers, to which the model hands the grid on as it does any keyword.

Shapes: S tokens in the sequence, R rows, T tokens of the longest row, H heads, K key-value heads, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

NAME = "packed"


@dataclass(frozen=True)
class Grid:
    """Where S tokens lie in R rows. `places` (R*T,) is each cell's token, 0 for an empty one; `cells` (S,) each token's cell;
    `empty` (R*T, 1, 1) are the cells without a token; `hidden` (R, 1, 1, T, T) the pairs that may not see one another."""

    rows: int
    longest: int
    positions: torch.Tensor
    places: torch.Tensor
    cells: torch.Tensor
    empty: torch.Tensor
    hidden: torch.Tensor


def grid_of(lengths: Sequence[int], *, causal: bool = True) -> Grid:
    """The grid of rows of these lengths that stand one after another."""
    rows, longest = len(lengths), max(lengths)
    sizes = torch.tensor(lengths)
    within = torch.arange(longest)
    full = within < sizes[:, None]
    cells = full.flatten().nonzero().flatten()
    places = torch.zeros(rows * longest, dtype=torch.long)
    places[cells] = torch.arange(len(cells))
    hidden = within > within[:, None] if causal else ~full[:, None, :]
    return Grid(
        rows,
        longest,
        within.repeat(rows, 1)[full][None],
        places,
        cells,
        ~full.flatten()[:, None, None],
        hidden.expand(rows, longest, longest)[:, None, None],
    )


class _Attention(torch.autograd.Function):
    """Softmax attention (arXiv:1706.03762, equation 1) within each row of a grid; its backward pass written out, so that nothing
    but weights is kept of the (T, T) grids, and nothing of them is float32. Keys that several queries share (arXiv:2305.13245)
    are not copied for each. The kernels under `torch.softmax` are called, which sum in float32 and which autocast leaves alone."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid, scaling: float) -> torch.Tensor:
        """q (1, H, S, D), k and v (1, K, S, D) -> (1, S, H, D)."""
        heads = q.shape[1]
        q, k, v = (_laid(tensor[0].transpose(0, 1), k.shape[1], grid) for tensor in (q, k, v))
        q.mul_(scaling)  # of the (T, D) and not of the (T, T): _laid has copied it
        weights = torch.bmm(q, k.transpose(1, 2))
        seen = weights.view(grid.rows, k.shape[0] // grid.rows, -1, grid.longest, grid.longest)
        seen.masked_fill_(grid.hidden, -torch.inf)
        weights = torch.ops.aten._softmax(weights, -1, False)
        ctx.save_for_backward(q, k, v, weights)
        ctx.grid, ctx.scaling = grid, scaling
        return _lifted(torch.bmm(weights, v), heads, grid)[None]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        q, k, v, weights = ctx.saved_tensors
        grid, scaling, heads = ctx.grid, ctx.scaling, gradient.shape[2]
        shared = k.shape[0] // grid.rows
        out = _laid(gradient[0], shared, grid, blank=True)
        back = torch.bmm(out, v.transpose(1, 2))
        back = torch.ops.aten._softmax_backward_data(back, weights, -1, back.dtype)
        to_q = _lifted(torch.bmm(back, k).mul_(scaling), heads, grid)
        to_k = _lifted(torch.bmm(back.transpose(1, 2), q), shared, grid)
        to_v = _lifted(torch.bmm(weights.transpose(1, 2), out), shared, grid)
        return *(part.transpose(0, 1)[None] for part in (to_q, to_k, to_v)), None, None


def _laid(tensor: torch.Tensor, shared: int, grid: Grid, *, blank: bool = False) -> torch.Tensor:
    """(S, H, D) -> (R*K, H/K*T, D): for each row and key-value head its queries. Empty cells hold any, or zeros if `blank`."""
    heads, width = tensor.shape[1:]
    cells = tensor.index_select(0, grid.places)
    if blank:
        cells = cells.masked_fill_(grid.empty, 0)
    cells = cells.view(grid.rows, grid.longest, shared, heads // shared, width).permute(0, 2, 3, 1, 4)
    return cells.reshape(grid.rows * shared, -1, width)


def _lifted(tensor: torch.Tensor, heads: int, grid: Grid) -> torch.Tensor:
    """(R*K, H/K*T, D) -> (S, H, D)."""
    cells = tensor.view(grid.rows, heads, grid.longest, -1).transpose(1, 2)
    return cells.reshape(grid.rows * grid.longest, heads, -1).index_select(0, grid.cells)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    grid: Grid | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of transformers' interface. Raises TypeError for what a grid does not know: windows, caps, sinks, biases."""
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if grid is None or attention_mask is not None or dropout or sliding_window or unknown:
        raise TypeError(f"packed attention takes a grid and nothing else, not {unknown or 'a mask, dropout or a window'}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # autocast multiplies in the values' precision; rotary positions are turned in float32
    query, key = query.to(value.dtype), key.to(value.dtype)
    return _Attention.apply(query, key, value, grid, scale), None  # type: ignore[no-untyped-call]


def pack(model: Any) -> bool:
    """Set the model to packed attention where it then says what it said of padded rows, and of each row the same to the bit
    whatever stands beside it; both are tried. Else leave it as it is.

    A model that mixes tokens outside its attention, or does not hand keywords on, cannot be packed.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    before, learning = model.config._attn_implementation, model.training
    lengths = [9, 5, 7]
    ids = torch.arange(2, 2 + sum(lengths)) % model.config.get_text_config().vocab_size
    rows = torch.split(ids, lengths)
    device = model.device
    model.eval()
    try:
        with torch.no_grad():
            padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).to(device)
            expected = model(input_ids=padded, use_cache=False).logits.float()
            model.set_attn_implementation(NAME)
            grid = grid_of(lengths)
            others = torch.cat([rows[0].flip(0), *rows[1:]])
            packed, beside = (
                model(input_ids=own[None].to(device), position_ids=grid.positions, grid=grid, use_cache=False).logits.float()
                for own in (ids, others)
            )
        parts = torch.split(packed[0], lengths)
        slack = 1e-3 if model.dtype == torch.float32 else 0.05
        same = model.config._attn_implementation == NAME and torch.equal(packed[0, lengths[0] :], beside[0, lengths[0] :])
        same = same and all(
            torch.allclose(part, whole[: len(part)], rtol=slack, atol=slack * float(whole.abs().max()))
            for part, whole in zip(parts, expected, strict=True)
        )
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError):
        same = False
    model.train(learning)
    if not same:
        model.set_attn_implementation(before)
    return same
