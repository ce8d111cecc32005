"""Rows side by side in one sequence: no token of padding passes through a model's matrices.

Only attention must know where a row ends. Here it gathers the rows into a grid, attends within each, and puts the answers back:
an attention implementation registered with transformers, to which the model hands the grid on as it does any keyword.

What all rows begin with (an instruction, shots) may stand once before them: under causal attention it is the same in each, and so
is what a model makes of it. Its gradient is the sum of what each row has of it.

Shapes: S tokens in the sequence, P of them in what all rows begin with, R rows, T tokens of the longest row, t of a stretch of it,
H heads, K key-value heads, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tuneladder.model.lanes import slack, trying

NAME = "packed"
TILE = 64  # queries of a stretch, at least: shorter ones make products that no core is busy with


@dataclass(frozen=True)
class Grid:
    """Where S tokens lie in R rows, behind the P of what all rows begin with. `places` (R*T,) is each cell's token, counted behind
    those, 0 for an empty one; `cells` (S - P,) each token's cell; `empty` (R*T, 1, 1) are the cells without a token; `hidden`
    (R, T, T) the pairs that may not see one another. `full`: no cell is empty, and tokens and cells are the same. `beginning` is
    the grid of what all rows begin with."""

    rows: int
    longest: int
    positions: torch.Tensor
    places: torch.Tensor
    cells: torch.Tensor
    empty: torch.Tensor
    hidden: torch.Tensor
    causal: bool
    full: bool
    beginning: Grid | None = None

    @property
    def before(self) -> int:
        """P, 0 where rows have nothing in common."""
        return self.beginning.longest if self.beginning else 0

    def tiles(self) -> list[tuple[int, int]]:
        """The stretches of queries that attend together. Under causal attention none needs the keys behind its end: in eight
        stretches four ninths of the products are not computed."""
        wide = self.longest if not self.causal else max(TILE, -(-self.longest // (8 * 16)) * 16)
        count = max(1, self.longest // wide)
        ends = [*(wide * (at + 1) for at in range(count - 1)), self.longest]
        return list(zip([0, *ends[:-1]], ends, strict=True))


def grid_of(lengths: Sequence[int], *, causal: bool = True, before: int = 0) -> Grid:
    """The grid of rows of these lengths that stand one after another, behind `before` tokens with which all of them begin and which
    their lengths leave out."""
    assert causal or not before, "what sees the rows is not the same in each"
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
        torch.cat([torch.arange(before), within.repeat(rows, 1)[full] + before])[None],
        places,
        cells,
        ~full.flatten()[:, None, None],
        hidden.expand(rows, longest, longest),
        causal,
        len(cells) == rows * longest,
        grid_of([before]) if before else None,
    )


Kept = tuple[torch.Tensor, ...]  # keys, values, the queries of each stretch, the weights of each; then those of the beginning


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid, scaling: float) -> tuple[torch.Tensor, Kept]:
    """Softmax attention (arXiv:1706.03762, equation 1) within each row of a grid, and what its way back wants.

    q (S, H, D), k and v (S, K, D) -> (S, H, D). Nothing but weights is kept of the (T, T) grids, and nothing of them is float32.
    Keys that several queries share (arXiv:2305.13245) are not copied for each. The kernels under `torch.softmax` are called, which
    sum in float32 and which autocast leaves alone.
    """
    heads, shared, before = q.shape[1], k.shape[1], grid.before
    cells, keys, values = _cells(q[before:] * scaling, shared, grid), _behind(k, grid), _behind(v, grid)
    out = cells.new_empty(cells.shape)
    queries, weights = [], []
    for start, end in grid.tiles():
        own = _batch(cells[:, start:end])
        scores = torch.bmm(own, keys[:, : before + end].transpose(1, 2))
        grown = scores.view(grid.rows, shared, heads // shared, end - start, before + end)
        if grid.causal:  # what lies before the stretch is seen by all of it
            grown[..., before + start :].masked_fill_(grid.hidden[:, None, None, start:end, start:end], -torch.inf)
        else:
            grown.masked_fill_(grid.hidden[:, None, None, :1], -torch.inf)
        seen = torch.ops.aten._softmax(scores, -1, False)
        _unbatch(torch.bmm(seen, values[:, : before + end]), out[:, start:end])
        queries.append(own)
        weights.append(seen)
    made, kept = _tokens(out, heads, grid), (keys, values, *queries, *weights)
    if grid.beginning is None:
        return made, kept
    first, kept_of_it = attended(q[:before], k[:before], v[:before], grid.beginning, scaling)
    return torch.cat([first, made]), (*kept, *kept_of_it)


def attended_back(
    gradient: torch.Tensor, kept: Sequence[torch.Tensor], grid: Grid, scaling: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of q (S, H, D), k and v (S, K, D), given that of what `attended` gave."""
    tiles, before = grid.tiles(), grid.before
    keys, values, *rest = kept[: 2 + 2 * len(tiles)]
    heads, width = gradient.shape[1:]
    shared = keys.shape[0] // grid.rows
    towards = _cells(gradient[before:], shared, grid, blank=True)
    to_q = towards.new_empty(towards.shape)
    to_k = to_v = towards.new_empty(0)
    # the last stretch sees every key: its gradients are the sums that the others are added to
    for (start, end), own, seen in reversed(list(zip(tiles, rest[: len(tiles)], rest[len(tiles) :], strict=True))):
        seeing = before + end
        out = _batch(towards[:, start:end])
        back = torch.bmm(out, values[:, :seeing].transpose(1, 2))
        back = torch.ops.aten._softmax_backward_data(back, seen, -1, back.dtype)
        _unbatch(torch.bmm(back, keys[:, :seeing]), to_q[:, start:end])
        of_k, of_v = torch.bmm(back.transpose(1, 2), own), torch.bmm(seen.transpose(1, 2), out)
        if end == grid.longest:
            to_k, to_v = of_k, of_v
        else:
            to_k[:, :seeing] += of_k
            to_v[:, :seeing] += of_v
    lifted = [part.view(grid.rows, shared, -1, width).transpose(1, 2) for part in (to_k, to_v)]  # (R, P + T, K, D)
    of_q, of_k, of_v = _tokens(to_q, heads, grid), *(_tokens(part[:, before:], shared, grid) for part in lifted)
    of_q.mul_(scaling)
    if grid.beginning is None:
        return of_q, of_k, of_v
    first = attended_back(gradient[:before], kept[2 + 2 * len(tiles) :], grid.beginning, scaling)
    for own, part in zip(first[1:], lifted, strict=True):
        own += part[:, :before].sum(0)
    both = zip(first, (of_q, of_k, of_v), strict=True)
    return tuple(torch.cat(pair) for pair in both)  # type: ignore[return-value]


def _behind(tensor: torch.Tensor, grid: Grid) -> torch.Tensor:
    """(S, K, D) -> (R*K, P + T, D): each row behind what all begin with."""
    own = _laid(tensor[grid.before :], grid)
    if grid.beginning is None:
        return own
    first = _laid(tensor[: grid.before], grid.beginning)
    return torch.cat([first.expand(grid.rows, *first.shape).flatten(0, 1), own], dim=1)


def _cells(tensor: torch.Tensor, shared: int, grid: Grid, *, blank: bool = False) -> torch.Tensor:
    """(S, H, D) -> (R, T, K, H/K, D). Empty cells hold any, or zeros if `blank`."""
    heads, width = tensor.shape[1:]
    if not grid.full:
        tensor = tensor.index_select(0, grid.places)
        if blank:
            tensor = tensor.masked_fill_(grid.empty, 0)
    return tensor.reshape(grid.rows, grid.longest, shared, heads // shared, width)


def _laid(tensor: torch.Tensor, grid: Grid) -> torch.Tensor:
    """(S, K, D) -> (R*K, T, D)."""
    return _batch(_cells(tensor, tensor.shape[1], grid))


def _batch(cells: torch.Tensor) -> torch.Tensor:
    """(R, t, K, H/K, D) -> (R*K, H/K*t, D): for each row and key-value head its queries."""
    rows, _, shared, _, width = cells.shape
    return cells.permute(0, 2, 3, 1, 4).reshape(rows * shared, -1, width)


def _unbatch(tensor: torch.Tensor, cells: torch.Tensor) -> None:
    """(R*K, H/K*t, D) into cells (R, t, K, H/K, D)."""
    rows, wide, shared, group, width = cells.shape
    cells.copy_(tensor.view(rows, shared, group, wide, width).permute(0, 3, 1, 2, 4))


def _tokens(cells: torch.Tensor, heads: int, grid: Grid) -> torch.Tensor:
    """(R, T, ...) of H heads -> (S, H, D)."""
    tensor = cells.reshape(grid.rows * grid.longest, heads, -1)
    return tensor if grid.full else tensor.index_select(0, grid.cells)


class _Attention(torch.autograd.Function):
    """`attended` with its way back."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: Grid, scaling: float) -> torch.Tensor:
        """q (1, H, S, D), k and v (1, K, S, D) -> (1, S, H, D)."""
        q, k, v = (own[0].transpose(0, 1) for own in (q, k, v))
        out, kept = attended(q, k, v, grid, scaling)
        ctx.save_for_backward(*kept)
        ctx.grid, ctx.scaling = grid, scaling
        return out[None]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        found = attended_back(gradient[0], ctx.saved_tensors, ctx.grid, ctx.scaling)
        return *(part.transpose(0, 1)[None] for part in found), None, None


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
    whatever stands beside it, and of rows behind what all begin with what it says of them whole; all is tried. Else leave it as it
    is.

    A model that mixes tokens outside its attention, or does not hand keywords on, cannot be packed.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    before, learning = model.config._attn_implementation, model.training
    lengths, common = [9, 5, 7], 3
    ids = torch.arange(2, 2 + sum(lengths)) % model.config.get_text_config().vocab_size
    rows = [torch.cat([ids[:common], row[common:]]) for row in torch.split(ids, lengths)]
    device = model.device

    def said(own: Sequence[torch.Tensor], grid: Grid) -> torch.Tensor:
        read = torch.cat(list(own))[None].to(device)
        return model(input_ids=read, position_ids=grid.positions, grid=grid, use_cache=False).logits[0].float()  # type: ignore[no-any-return]

    model.eval()
    try:
        with trying(model):
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
            expected = model(input_ids=padded, use_cache=False).logits.float()
            model.set_attn_implementation(NAME)
            packed = said(rows, grid_of(lengths))
            beside = said([rows[0].flip(0), *rows[1:]], grid_of(lengths))
            own = [length - common for length in lengths]
            behind = said([ids[:common], *(row[common:] for row in rows)], grid_of(own, before=common))
        most = slack(model)

        def near(part: torch.Tensor, whole: torch.Tensor) -> bool:
            return torch.allclose(part, whole, rtol=most, atol=most * float(whole.abs().max()))

        same = model.config._attn_implementation == NAME and torch.equal(packed[lengths[0] :], beside[lengths[0] :])
        parts = zip(torch.split(packed, lengths), torch.split(behind[common:], own), expected, lengths, strict=True)
        same = same and all(
            near(part, whole[:length]) and near(after, whole[common:length]) for part, after, whole, length in parts
        )
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError):
        same = False
    model.train(learning)
    if not same:
        model.set_attn_implementation(before)
    return same
