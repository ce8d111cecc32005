"""Losses: pure functions of a model and a micro-batch, summed over what is learned, each target times its weight where there are
any (the loop divides once by the whole batch: by its targets, or the sum of their weights)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from tuneladder.model.routing import uneven
from tuneladder.model.rows import bypassing, noting, reading
from tuneladder.model.written import precision
from tuneladder.train.batches import Micro

PART = 1 << 23  # logits of one product of the head
PIECE = 1 << 20  # of them that are made probabilities at once, in float32, while they lie in the cache


def next_token_evenly(model: Any, micro: Micro, *, even: float, picks: int) -> torch.Tensor:
    """`next_token` of a mixture, and in training `even` times how unevenly its routers pick `picks` experts for each token of the
    micro-batch (arXiv:2101.03961, equation 4), for each learned position."""
    if not model.training:
        return next_token(model, micro)
    places = torch.arange(micro.ids.numel(), device=micro.ids.device) if micro.rows is None else micro.rows
    with reading(model, places):
        made = model(input_ids=micro.ids, use_cache=False, output_router_logits=True, **_places(micro))
    return summed(made.logits, micro) + even * micro.learned * uneven(made.router_logits, picks, _led_to(places, micro.ids))


def _led_to(places: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Which of the flattened ids (B * T,) lead up to what is learned at one of the places, that token too: what pads does not."""
    length = ids.shape[1]
    last = torch.full((len(ids),), -1, device=ids.device).scatter_reduce(0, places // length, places % length, "amax")
    return (torch.arange(length, device=ids.device) <= last[:, None] + 1).flatten().float()


def next_token(model: Any, micro: Micro, *, bare: bool = False) -> torch.Tensor:
    """Cross-entropy of the next token, natural log, summed over the learned positions.

    The head runs on learned rows only: of ids (B, T) it sees (N, width), not (B, T, width). Where the model's head is `bare`, there
    are never more logits than PART, and a fused last layer computes of packed rows no more than those.
    """
    if bare:
        return through_head(model.get_output_embeddings(), _before_head(model, micro), micro.targets, micro.weights)
    return summed(token_logits(model, micro), micro)


def token_logs(model: Any, micro: Micro, *, bare: bool = False) -> torch.Tensor:
    """Natural log-probability of each learned position's target (N,), with the head on these rows only; where it is `bare` no
    logits are kept for the way back."""
    return logs_and_hidden(model, micro, bare=bare)[0]


def logs_and_hidden(model: Any, micro: Micro, *, bare: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """`token_logs` (N,), and what the head read for them (N, D)."""
    if bare and not model.get_output_embeddings().weight.requires_grad:
        hidden_ND = _before_head(model, micro)
        return logs_through_head(model.get_output_embeddings(), hidden_ND, micro.targets), hidden_ND
    assert micro.rows is not None
    with reading(model, micro.rows), noting(model) as kept:
        logits_NV = model(input_ids=micro.ids, use_cache=False, **_places(micro)).logits
    return torch.log_softmax(logits_NV.float(), -1).gather(1, micro.targets[:, None])[:, 0], kept[0]


def _places(micro: Micro) -> dict[str, Any]:
    """Where packed rows lie, for a model that is told."""
    return {} if micro.grid is None else {"grid": micro.grid, "position_ids": micro.grid.positions}


def _before_head(model: Any, micro: Micro) -> torch.Tensor:
    """What reaches a bare head (N, D) at the learned positions."""
    told = _places(micro)
    reads = {"reads": micro.rows} if told else {}
    with bypassing(model) as kept:
        model(input_ids=micro.ids, use_cache=False, **told, **reads)
    (hidden_ND,) = kept
    if micro.rows is not None and len(hidden_ND) != len(micro.rows):
        hidden_ND = hidden_ND.index_select(0, micro.rows)
    return hidden_ND


def token_logits(model: Any, micro: Micro) -> torch.Tensor:
    """The logits (N, V) of a decoder at the learned positions."""
    if micro.rows is None:
        return model(input_ids=micro.ids, use_cache=False, **_places(micro)).logits.flatten(0, 1)  # type: ignore[no-any-return]
    with reading(model, micro.rows):
        return model(input_ids=micro.ids, use_cache=False, **_places(micro)).logits  # type: ignore[no-any-return]


def summed(logits_NV: torch.Tensor, micro: Micro) -> torch.Tensor:
    """Cross-entropy of the targets by the logits (N, V), natural log, summed, each times its weight."""
    if micro.weights is None:
        return functional.cross_entropy(logits_NV.float(), micro.targets, reduction="sum")
    return (functional.cross_entropy(logits_NV.float(), micro.targets, reduction="none") * micro.weights).sum()


def hidden_token(model: Any, micro: Micro) -> torch.Tensor:
    """Cross-entropy of the tokens that masked language modelling chose (arXiv:1810.04805, section 3.1), natural log, summed.

    The head runs on those places only: of ids (B, T) it sees (N, width).
    """
    assert micro.rows is not None
    with reading(model, micro.rows):
        logits_NV = model(**micro.read).logits
    return functional.cross_entropy(logits_NV.float(), micro.targets, reduction="sum")


def answer_token(model: Any, micro: Micro) -> torch.Tensor:
    """Cross-entropy of a seq2seq's next token, natural log, summed over the learned places of its answers.

    The head runs on those places only: of answers (B, U) it sees (N, width).
    """
    return summed(answer_logits(model, micro), micro)


def answer_logits(model: Any, micro: Micro) -> torch.Tensor:
    """The logits (N, V) of a seq2seq at the learned places of its answers."""
    inputs: dict[str, Any] = {**micro.read, "decoder_input_ids": micro.answers, "use_cache": False}
    if micro.states is not None:
        from transformers.modeling_outputs import BaseModelOutput

        inputs["encoder_outputs"] = BaseModelOutput(last_hidden_state=micro.states)
        del inputs["input_ids"]
    if micro.rows is None:
        return model(**inputs).logits.flatten(0, 1)  # type: ignore[no-any-return]
    with reading(model, micro.rows):
        return model(**inputs).logits  # type: ignore[no-any-return]


def labels_of(model: Any, micro: Micro) -> torch.Tensor:
    """Binary cross-entropy of each of K labels, which the targets (B * K,) say a row has or not, natural log, summed; divided by
    its targets it is that of transformers' own multi-label heads."""
    logits_BK = model(**micro.read).logits
    return functional.binary_cross_entropy_with_logits(logits_BK.float().flatten(), micro.targets.float(), reduction="sum")


def label_of(model: Any, micro: Micro) -> torch.Tensor:
    """Cross-entropy of each row's label, or of the tag at each of the micro-batch's places, natural log, summed."""
    return summed(label_logits(model, micro), micro)


def label_logits(model: Any, micro: Micro) -> torch.Tensor:
    """The logits (N, K) of each row's label, or of the tag at each of the micro-batch's places."""
    logits: torch.Tensor = model(**micro.read).logits  # (B, K), or of words (B, T, K)
    return logits if micro.rows is None else logits.flatten(0, 1).index_select(0, micro.rows)


def logs_through_head(head: torch.nn.Linear, hidden_ND: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Natural log-probability (N,) of each target by the logits of a head that does not learn; the products are in autocast's
    precision where that is on."""
    half = precision(hidden_ND)
    with torch.autocast(hidden_ND.device.type, enabled=False):
        asked = hidden_ND.requires_grad and torch.is_grad_enabled()
        return _HeadLogs.apply(hidden_ND, head.weight, head.bias, targets_N, half, asked)  # type: ignore[no-any-return, no-untyped-call]


def _rounded(half: torch.dtype, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None) -> tuple[Any, ...]:
    """What a head multiplies, in the precision of products."""
    return hidden_ND.to(half), weight_VD.to(half), None if bias_V is None else bias_V.to(half)


class _HeadLogs(torch.autograd.Function):
    """A part of the rows after another. Each log-probability has its own gradient towards its row, which is made while the logits
    are there and then scaled: none are kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_N: torch.Tensor,
        half: torch.dtype,
        asked: bool,
    ) -> torch.Tensor:
        hidden, weight, bias = _rounded(half, hidden_ND, weight_VD, bias_V)
        of_hidden = torch.empty_like(hidden) if asked else None
        found = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        part = max(1, PIECE // len(weight))
        for start in range(0, len(hidden), part):
            own, aims = hidden[start : start + part], targets_N[start : start + part]
            logs_PV = torch.log_softmax(functional.linear(own, weight, bias).float(), -1)
            found[start : start + part] = logs_PV.gather(1, aims[:, None])[:, 0]
            if of_hidden is not None:
                of_logits = logs_PV.exp_().neg_()
                of_logits[torch.arange(len(aims), device=aims.device), aims] += 1
                torch.mm(of_logits.to(half), weight, out=of_hidden[start : start + part])
        ctx.save_for_backward(of_hidden)
        ctx.dtype = hidden_ND.dtype
        return found

    @staticmethod
    def backward(ctx: Any, gradient_N: torch.Tensor) -> tuple[Any, ...]:
        (of_hidden,) = ctx.saved_tensors
        return (of_hidden * gradient_N[:, None]).to(ctx.dtype), None, None, None, None, None


def through_head(
    head: torch.nn.Linear, hidden_ND: torch.Tensor, targets_N: torch.Tensor, weights_N: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy of the head's logits, natural log, summed, each times its weight; the products are in autocast's precision
    where that is on."""
    half = precision(hidden_ND)
    with torch.autocast(hidden_ND.device.type, enabled=False):
        learning = torch.is_grad_enabled()
        return _HeadLoss.apply(hidden_ND, head.weight, head.bias, targets_N, weights_N, half, learning)  # type: ignore[no-any-return, no-untyped-call]


class _HeadLoss(torch.autograd.Function):
    """A part of the rows after another: logits, loss and gradients while the logits are there, so that none are kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_N: torch.Tensor,
        weights_N: torch.Tensor | None,
        half: torch.dtype,
        learning: bool,
    ) -> torch.Tensor:
        # in here no gradients are recorded, and what needs one is said of weights that learn whether or not anybody will ask
        asked = ctx.needs_input_grad if learning else (False,) * 3
        hidden, weight, bias = _rounded(half, hidden_ND, weight_VD, bias_V)
        of_hidden = torch.empty_like(hidden) if asked[0] else None
        of_weight = torch.zeros_like(weight_VD, dtype=torch.float32) if asked[1] else None
        of_bias = torch.zeros_like(bias_V, dtype=torch.float32) if bias_V is not None and asked[2] else None
        part, piece = (max(1, most // len(weight)) for most in (PART, PIECE))
        losses = [hidden.new_zeros((), dtype=torch.float32)]
        for start in range(0, len(hidden), part):
            own = hidden[start : start + part]
            logits_PV = functional.linear(own, weight, bias)
            for at in range(start, min(start + part, len(hidden)), piece):
                some = logits_PV[at - start : at - start + piece]
                aims = targets_N[at : at + len(some)]
                counts = None if weights_N is None else weights_N[at : at + len(some), None]
                logs = torch.log_softmax(some.float(), -1)
                each = -logs.gather(1, aims[:, None])
                losses.append((each if counts is None else each * counts).sum())
                if any(asked[:3]):
                    logs.exp_()[torch.arange(len(aims), device=aims.device), aims] -= 1
                    if counts is not None:
                        logs *= counts
                    some.copy_(logs)  # from here on the gradient of the logits
            if of_hidden is not None:
                torch.mm(logits_PV, weight, out=of_hidden[start : start + part])
            if of_weight is not None:
                of_weight += logits_PV.t() @ own
            if of_bias is not None:
                of_bias += logits_PV.sum(0, dtype=torch.float32)
        ctx.save_for_backward(of_hidden, of_weight, of_bias)
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        return *(None if own is None else own * gradient for own in ctx.saved_tensors), None, None, None, None
