"""Keys and values held in place: what rows have read stays where it was put, and attention goes to it there.

Rows stand side by side in one sequence, as `packed.py` has them in training, so that no padding passes through a model's
matrices. Attention, an implementation registered with transformers, gathers them into a grid. What all rows begin with is held
once for all of them; what each has read of its own is kept where later tokens are to follow it, one for each row at a time.
Room grows by many tokens at once, where a cache of transformers is copied whole at every token.

Shapes: S tokens of the sequence, R rows, T tokens of the longest row, C tokens held in common, H heads, K key-value heads, D their
width; n cells of the grid for each row and key-value head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tuneladder.errors import BadInput
from tuneladder.model import rows as read_rows

NAME = "held"
# Room grows by so many tokens at once: every new length of keys costs new kernels.
TILE = 32
# Rows longer than this attend by the library's own kernel, which holds no (T, T) of them.
LONG = 512
MOST = 1 << 25  # weights of attention that are held at once, where rows share what they begin with

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Grid:
    """Where S tokens lie in R rows: `places` (R*T,) is each cell's token, 0 for an empty one, `cells` (S,) each token's cell;
    `hidden` (R, 1, 1, T, T) are the pairs that may not see one another, `positions` (1, S) each token's place in its row."""

    rows: int
    longest: int
    positions: torch.Tensor
    places: torch.Tensor
    cells: torch.Tensor
    hidden: torch.Tensor


@dataclass
class Store:
    """Keys and values of each layer, (R, K, room, D): those of `rows` rows are in use, each up to its own length. They are made as
    the layers write for the first time; zeros, for what is masked is still multiplied. There is never much more room than the
    longest row needs: products of a part of it would copy that part first."""

    rows: int
    room: int
    layers: dict[int, Pair] = field(default_factory=dict)

    def of(self, layer: int, like: torch.Tensor, other: torch.Tensor) -> Pair:
        if layer not in self.layers:
            keys, values = (own.new_zeros(self.rows, own.shape[-2], self.room, own.shape[-1]) for own in (like, other))
            self.layers[layer] = keys, values
        return self.layers[layer]

    def make_room(self, tokens: int) -> None:
        """See to it that rows of so many tokens have room."""
        if tokens <= self.room:
            return
        more = -(-tokens // TILE) * TILE - self.room
        for layer, pair in self.layers.items():
            keys, values = (torch.nn.functional.pad(tensor[: self.rows], (0, 0, 0, more)) for tensor in pair)
            self.layers[layer] = keys, values
        self.room += more

    def keep(self, order: Sequence[int]) -> None:
        """Go on with the rows `order` in this order; rows that stay at their place are not copied."""
        moved = [place for place, row in enumerate(order) if row != place]
        if moved:
            into, source = torch.tensor(moved), torch.tensor([order[place] for place in moved])
            for pair in self.layers.values():
                for tensor in pair:
                    tensor[into] = tensor[source]
        self.rows = len(order)

    def spread(self, samples: int) -> None:
        """Each row `samples` times, one after another."""
        for layer, pair in self.layers.items():
            keys, values = (tensor.repeat_interleave(samples, 0) for tensor in pair)
            self.layers[layer] = keys, values
        self.rows *= samples


@dataclass(frozen=True)
class Pass:
    """One pass through the model, handed to `attend` as the keyword `held`.

    With a `grid` it reads rows side by side, after what `shared` holds ((K, C, D) for each layer), and keeps them in `store`
    from row `first` on. Without, it reads one token for each row of `store`, at the places `at` (the rows' numbers and their
    places, both (R,)), and does not look at those that `hidden` (R, 1, 1, 1, room) shows.
    """

    grid: Grid | None = None
    shared: dict[int, Pair] | None = None
    store: Store | None = None
    first: int = 0
    at: Pair | None = None
    hidden: torch.Tensor | None = None


def reading(lengths: Sequence[int], *, shared: dict[int, Pair] | None = None, store: Store | None = None, first: int = 0) -> Pass:
    """A pass that reads rows of these lengths, each token after all before it."""
    rows, longest = len(lengths), max(lengths)
    within = torch.arange(longest)
    full = within < torch.tensor(lengths)[:, None]
    cells = full.flatten().nonzero().flatten()
    places = torch.zeros(rows * longest, dtype=torch.long)
    places[cells] = torch.arange(len(cells))
    hidden = (within > within[:, None]).expand(rows, 1, 1, longest, longest)
    grid = Grid(rows, longest, within.repeat(rows, 1)[full][None], places, cells, hidden)
    return Pass(grid=grid, shared=shared, store=store, first=first)


def hiding(own: Pass, spans: Sequence[Sequence[tuple[int, int, int]]]) -> Pass:
    """The same pass where, in each row, tokens from `start` to `end` do not see those from `root` to `start`: the branches of a
    tree, each of which follows the root. A span is (root, start, end)."""
    assert own.grid is not None
    if not any(row for row in spans):
        return own
    hidden = own.grid.hidden.clone()
    for row, branches in enumerate(spans):
        for root, start, end in branches:
            hidden[row, :, :, start:end, root:start] = True
    return replace(own, grid=replace(own.grid, hidden=hidden))


def following(store: Store, at: Sequence[int], *, shared: dict[int, Pair] | None = None) -> Pass:
    """A pass that reads one token for each row, at the places `at` of its room."""
    store.make_room(max(at) + 1)
    places = torch.tensor(at)
    hidden = torch.arange(store.room) > places[:, None]
    return Pass(store=store, shared=shared, at=(torch.arange(len(at)), places), hidden=hidden[:, None, None, None])


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    held: Pass | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of transformers' interface: query (1, H, S, D), key and value (1, K, S, D) -> (1, S, H, D). Raises TypeError
    for what a pass does not know: windows, caps, sinks, biases."""
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if held is None or attention_mask is not None or dropout or sliding_window or unknown or len(query) != 1:
        raise TypeError(f"held attention takes a pass and nothing else, not {unknown or 'a mask, dropout or a window'}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    shared = held.shared[module.layer_idx] if held.shared else None
    q, k, v = (tensor[0].transpose(0, 1).to(value.dtype) for tensor in (query, key, value))
    if held.grid is None:
        return _follow(q, k, v, held, shared, module.layer_idx, scale)[None], None
    return _read(q, k, v, held, held.grid, shared, module.layer_idx, scale)[None], None


def _follow(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, held: Pass, shared: Pair | None, layer: int, scale: float
) -> torch.Tensor:
    """q (R, H, D), k and v (R, K, D) -> (R, H, D)."""
    store, at, hidden = held.store, held.at, held.hidden
    assert store is not None
    assert at is not None
    assert hidden is not None
    rows, heads, width = q.shape
    keys, values = store.of(layer, k, v)
    every, places = at
    keys[every, :, places] = k
    values[every, :, places] = v
    keys, values = (own[:rows].flatten(0, 1) for own in (keys, values))
    asked = (q * scale).reshape(len(keys), -1, width)
    return _mix(asked, keys, values, hidden, shared, rows).view(rows, heads, -1)


def _read(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, held: Pass, grid: Grid, shared: Pair | None, layer: int, scale: float
) -> torch.Tensor:
    """q (S, H, D), k and v (S, K, D) -> (S, H, D)."""
    heads, groups = q.shape[1], k.shape[1]
    asked, keys, values = (_laid(own, groups, grid) for own in (q * scale, k, v))
    if held.store is not None:
        rows = slice(held.first, held.first + grid.rows)
        for into, own in zip(held.store.of(layer, k, v), (keys, values), strict=True):
            into[rows, :, : grid.longest] = own.view(grid.rows, groups, grid.longest, -1)
    if grid.longest > LONG:
        return _lifted(_long(asked, keys, values, grid, shared), heads, grid)
    # as many rows at once as keep their weights within MOST: what they share may be much longer than they are
    wide = heads * grid.longest * (grid.longest + (shared[0].shape[1] if shared else 0))
    count = max(1, MOST // wide)
    parts = []
    for start in range(0, grid.rows, count):
        end = min(start + count, grid.rows)
        some = slice(start * groups, end * groups)
        parts.append(_mix(asked[some], keys[some], values[some], grid.hidden[start:end], shared, end - start))
    return _lifted(torch.cat(parts) if len(parts) > 1 else parts[0], heads, grid)


def _laid(tensor: torch.Tensor, groups: int, grid: Grid) -> torch.Tensor:
    """(S, H, D) -> (R*K, H/K*T, D): for each row and key-value head its queries. Empty cells hold any."""
    heads, width = tensor.shape[1:]
    cells = tensor.index_select(0, grid.places).view(grid.rows, grid.longest, groups, heads // groups, width)
    return cells.permute(0, 2, 3, 1, 4).reshape(grid.rows * groups, -1, width)


def _lifted(tensor: torch.Tensor, heads: int, grid: Grid) -> torch.Tensor:
    """(R*K, H/K*T, D) -> (S, H, D)."""
    cells = tensor.view(grid.rows, heads, grid.longest, -1).transpose(1, 2)
    return cells.reshape(grid.rows * grid.longest, heads, -1).index_select(0, grid.cells)


def _mix(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, hidden: torch.Tensor, shared: Pair | None, rows: int
) -> torch.Tensor:
    """Softmax attention of q (R*K, n, D), scaled, over keys (R*K, T, D) and those held in common -> (R*K, n, D)."""
    weights = torch.bmm(q, keys.transpose(1, 2))
    seen = weights.view(rows, len(keys) // rows, -1, hidden.shape[-2], hidden.shape[-1])
    seen.masked_fill_(hidden, -torch.inf)
    if shared is None:
        return torch.bmm(torch.softmax(weights, -1), values)
    # The common keys are multiplied once with the queries of all rows.
    before = _across(q, rows) @ shared[0].transpose(1, 2)
    whole = torch.softmax(torch.cat([_along(before, rows), weights], -1), -1)
    common = shared[0].shape[1]
    found = torch.bmm(whole[..., common:], values)
    return found.add_(_along(_across(whole[..., :common], rows) @ shared[1], rows))


def _across(own: torch.Tensor, rows: int) -> torch.Tensor:
    """(R*K, n, X) -> (K, R*n, X)."""
    return own.view(rows, len(own) // rows, *own.shape[1:]).transpose(0, 1).flatten(1, 2)


def _along(own: torch.Tensor, rows: int) -> torch.Tensor:
    """(K, R*n, X) -> (R*K, n, X)."""
    return own.view(len(own), rows, -1, own.shape[-1]).transpose(0, 1).flatten(0, 1)


def _long(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, grid: Grid, shared: Pair | None) -> torch.Tensor:
    """As `_mix`, a row at a time, by a kernel that never holds all weights."""
    groups = len(keys) // grid.rows
    out = []
    for row in range(grid.rows):
        own = slice(row * groups, (row + 1) * groups)
        hidden, k, v = grid.hidden[row, 0, 0], keys[own], values[own]
        if shared is not None:
            k, v = (torch.cat([common, part], 1) for common, part in zip(shared, (k, v), strict=True))
            hidden = torch.cat([hidden.new_zeros(len(hidden), shared[0].shape[1]), hidden], 1)
        asked = q[own].view(groups, -1, grid.longest, q.shape[-1])
        k, v = (part[:, None].expand(-1, asked.shape[1], -1, -1) for part in (k, v))
        found = torch.nn.functional.scaled_dot_product_attention(asked, k, v, attn_mask=~hidden, scale=1.0)
        out.append(found.flatten(1, 2))
    return torch.cat(out)


def common(model: Any, ids: Sequence[int]) -> dict[int, Pair]:
    """What every layer holds of tokens that stand at the beginning of all rows: keys and values (K, C, D)."""
    store = Store(1, len(ids))
    with read_rows.reading(model, torch.tensor([len(ids) - 1])):  # the head has nothing to say here
        read(model, [list(ids)], reading([len(ids)], store=store), positions=None)
    return {layer: (keys[0], values[0]) for layer, (keys, values) in store.layers.items()}


def read(model: Any, rows: Sequence[Sequence[int]], own: Pass, *, positions: torch.Tensor | None, skip: int = 0) -> torch.Tensor:
    """The logits (1, S, V) of rows side by side, or those alone that a `rows.reading` around it asks for. A row's first token has
    the position `skip` where `positions` (1, S) does not say otherwise."""
    ids = torch.tensor([[token for row in rows for token in row]])
    if positions is None:
        assert own.grid is not None
        positions = own.grid.positions + skip
    logits: torch.Tensor = model(input_ids=ids, position_ids=positions, held=own, use_cache=False).logits
    return logits


@contextlib.contextmanager
def holding(core: Any) -> Iterator[None]:
    """While open, the model `core` attends by passes."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    before = core.config._attn_implementation
    core.set_attn_implementation(NAME)
    try:
        if core.config._attn_implementation != NAME:
            raise ValueError(f"{type(core).__name__} chooses no attention of its own")
        yield
    finally:
        core.set_attn_implementation(before)


@torch.no_grad()
def trial(model: Any, core: Any) -> int:
    """The bytes that the keys and values of one token take, where this architecture says of rows side by side, of trees on a
    shared beginning and of tokens that follow them what it says of each text alone; all of it is tried. 0 where it does not, and
    for what is not on a CPU, where this was measured.

    A model that mixes tokens outside its attention, or does not hand keywords on, cannot hold.
    """
    if core.device.type != "cpu":
        return 0
    size = core.config.get_text_config().vocab_size
    texts = [[(7 * place + 3 * row + 2) % size for place in range(length)] for row, length in enumerate((9, 5, 7))]
    start = [(5 * place + 1) % size for place in range(6)]

    leaf = texts[0][:3] + texts[0][6:]
    try:
        # what pads a row on its right is seen by no token of it
        ids = [start + text + [0] * (9 - len(text)) for text in [*texts, leaf]]
        *plain, branch = model(input_ids=torch.tensor(ids), use_cache=False).logits[:, len(start) :].float()
        with holding(core):
            shared = common(model, start)
            store = Store(len(texts), TILE)
            before = [text[:-2] for text in texts]
            found = read(
                model, before, reading([len(row) for row in before], shared=shared, store=store), positions=None, skip=len(start)
            )
            parts = [[part] for part in torch.split(found[0].float(), [len(row) for row in before])]
            order = [2, 1]
            store.keep(order)
            for ahead in (2, 1):
                at = [len(texts[row]) - ahead for row in order]
                logits = model(
                    input_ids=torch.tensor([[texts[row][place] for row, place in zip(order, at, strict=True)]]),
                    position_ids=torch.tensor([at]) + len(start),
                    held=following(store, at, shared=shared),
                    use_cache=False,
                ).logits.float()
                for row, own in zip(order, logits[0], strict=True):
                    parts[row].append(own[None])
            tree = hiding(reading([9], shared=shared), [[(3, 6, 9)]])
            positions = torch.tensor([[0, 1, 2, 3, 4, 5, 3, 4, 5]]) + len(start)
            leaves = read(model, texts[:1], tree, positions=positions)[0, 6:].float()
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, IndexError):
        return 0
    if any(bool(whole.isnan().any()) for whole in plain):
        raise BadInput("the model's weights are broken: what it says of a text is NaN", "take an earlier save, or make it again")
    slack = 1e-3 if core.dtype == torch.float32 else 0.05
    pairs = [(torch.cat(own), whole[: sum(len(part) for part in own)]) for own, whole in zip(parts, plain, strict=True)]
    same = all(
        torch.allclose(own, whole, rtol=slack, atol=slack * float(whole.abs().max()))
        for own, whole in [*pairs, (leaves, branch[3:6])]
    )
    return same * sum(own[:, 0].nbytes for pair in shared.values() for own in pair)
