"""Small shapes of families that no shape of ours makes."""

from __future__ import annotations

from transformers import BartConfig

BART = BartConfig(  # stacks of unlike height
    vocab_size=420,
    d_model=32,
    encoder_layers=2,
    decoder_layers=3,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    max_position_embeddings=128,
)
