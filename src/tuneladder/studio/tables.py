"""The tables of a labelling. Judgements are only ever added: what was withdrawn stays, and says that it was."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()

# `content`: the digest of what is labelled; `secret`: of the secret that the links were made with
facts = Table("facts", metadata, Column("name", String(40), primary_key=True), Column("value", Text, nullable=False))

rubrics = Table(
    "rubrics",
    metadata,
    Column("version", String(16), primary_key=True),
    Column("yaml", Text, nullable=False),
    Column("at", String(40), nullable=False),
)

# `made` counts their links, `told` the calibration rounds whose result they have seen
labelers = Table(
    "labelers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("token", String(64), nullable=False, unique=True),
    Column("made", Integer, nullable=False),
    Column("told", Integer, nullable=False),
)

# the first round is 1, each calibration that is taken again another; all other asks are of round 0
asks = Table(
    "asks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("labeler", ForeignKey("labelers.id"), nullable=False, index=True),
    Column("round", Integer, nullable=False),
    Column("place", Integer, nullable=False),
    Column("item", Text, nullable=False),
    Column("why", String(20), nullable=False),
    Column("done", Boolean, nullable=False),
    UniqueConstraint("labeler", "round", "place"),
)

# `key` is made by whoever writes, so that a write that is sent twice is one; `value` is JSON, null where it was withdrawn;
# `undoes` is the judgement that an undo takes back
judgements = Table(
    "judgements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(64), nullable=False, unique=True),
    Column("ask", ForeignKey("asks.id"), nullable=False, index=True),
    Column("labeler", ForeignKey("labelers.id"), nullable=False, index=True),
    Column("criterion", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("rubric", ForeignKey("rubrics.version"), nullable=False),
    Column("value", Text, nullable=True),
    Column("why", Text, nullable=False),
    Column("at", String(40), nullable=False),
    Column("undoes", Integer, nullable=True),
)
