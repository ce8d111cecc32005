"""The nouns. Frozen dataclasses that hold facts and do nothing; the rooms hold the work.

Seconds are wall-clock seconds, memory and disk are bytes, money is in the currency of the recipe's prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from tuneladder.model.shelf import Shelf
    from tuneladder.store import Store

T = TypeVar("T")

Role = Literal["system", "user", "assistant", "tool", "text"]
Kind = Literal["classify", "tag", "generate", "extract", "choose", "chat", "prefer", "text"]
Family = Literal["decoder", "encoder", "seq2seq"]
# why a loop ended: "kl" and "entropy" are a policy's, which went too far, or lost its variety
Stopped = Literal["", "done", "budget", "plateau", "nan", "kl", "entropy"]


@dataclass(frozen=True)
class Turn:
    """`text` is no turn of a talk: plain text that goes on, without any template, in what is written or ranked after it."""

    role: str
    text: str


Turns = tuple[Turn, ...]


@dataclass(frozen=True)
class Example:
    """One row. `turns` is what is read, `references[0]` what is learned, `source` the row it came from: no split cuts a source.

    `options` are the possible answers of this row where they differ by row (kind `choose`); `meta` keeps what few rows have: the
    `tests` that try an answer, the `schema` of its own data set. `template`
    makes its user turns where the prompt's does not; `set` names the data set that it is of, where a task mixes several.
    """

    id: str
    turns: Turns
    references: tuple[str, ...]
    options: tuple[str, ...] = ()
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    set: str = ""


@dataclass(frozen=True)
class Document:
    """A passage of plain text; `source` names the corpus it came from, so that every corpus is measured apart."""

    text: str
    source: str = ""


@dataclass(frozen=True)
class Lesson(Document):
    """A passage that asks and answers: `text` is all of it, as a prompt would put it. A seq2seq reads `ask` and writes `answer`."""

    ask: str = ""
    answer: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two answers to the same turns. `weight` is how much it counts, `margin` by how much the chosen is better where both have a
    score, `scores` these, `source` the item it came from. Of an answer that was judged by itself the other is "": it is `chosen`
    where it was wanted or scored, `rejected` where it was not wanted."""

    id: str
    turns: Turns
    chosen: str
    rejected: str
    weight: float = 1.0
    margin: float = 0.0
    source: str = ""
    scores: tuple[float, float] | None = None


@dataclass(frozen=True)
class Judgement:
    """What one person said of one item; `value` may be a number, a ranking, "tie" or "fail"; `why` is
    their reason, where they gave one."""

    item: str
    labeler: str
    rubric: str
    value: Any
    at: str
    why: str = ""


@dataclass(frozen=True)
class Split(Generic[T]):
    train: tuple[T, ...] = ()
    dev: tuple[T, ...] = ()
    test: tuple[T, ...] = ()


@dataclass(frozen=True)
class Text:
    """Plain text by split. What there is to train on may be larger than memory: it is gone through, and read anew each time."""

    train: Sequence[Document] = ()
    dev: tuple[Document, ...] = ()
    test: tuple[Document, ...] = ()


@dataclass(frozen=True)
class Shots:
    """Worked examples shown in the prompt. `chosen` holds those picked when the prompt was made, and `reasons` what leads to the
    answer of each, where that is shown too, "" where nobody said it. Of `nearest` each row has its own, the `count` of `pool` that
    are most like it by `similarity`."""

    count: int
    choose: Literal["fixed", "balanced", "nearest", "diverse"] = "balanced"
    chosen: tuple[Example, ...] = ()
    reasons: tuple[str, ...] = ()
    pool: tuple[Example, ...] = ()
    similarity: Literal["", "minilm", "bm25"] = ""


@dataclass(frozen=True)
class Thought:
    """Reasoning that is written before the answer (arXiv:2205.11916): what invites it, what then asks for the answer, and the most
    tokens that it takes."""

    invitation: str = "Let's think step by step."
    conclusion: str = "Therefore, the answer is"
    tokens: int = 128


@dataclass(frozen=True)
class Why:
    """A reason that is asked for once the answer is given: in what words, and the most tokens that it takes."""

    question: str = "Why? Answer in one sentence."
    tokens: int = 64


@dataclass(frozen=True)
class Decoding:
    """How text is sampled. temperature 0 is greedy; top_k 0 and top_p 1 are off; repetition is the penalty of arXiv:1909.05858.
    `schema` is JSON schema as text: nothing but what fits it can be written."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition: float = 1.0
    stop: tuple[str, ...] = ()
    samples: int = 1
    seed: int = 0
    schema: str = ""


@dataclass(frozen=True)
class Prompt:
    """All that can change without touching a weight.

    `template` is Jinja over `input` (the text of the row's last user turn) and makes the user turn; `instruction` stands first,
    with what the system says; `ask` says whether answers are generated or the options are ranked; `calibrate` takes the ranking on
    an empty input away (arXiv:2102.09690); `parse` names the rule that reads an answer out of generated text, `tags` one tag for
    each word of the row, `labels` a set of labels, `number` the number that it comes to, `json` an object of the `schema`, which
    the system's turn shows; with `think` the model reasons before it answers, with `why` it says after it what for; of `vote`
    samples the answer that most give counts. Options that each row brings are ranked by their log-probability for each character,
    byte or token of theirs, as `normalise` says, and are shown where an answer is written or thought about: a template may use
    `options` too. `heat` divides what options are ranked by before it becomes probabilities: tuned on few rows a model is surer
    than it is right (arXiv:1706.04599).
    """

    template: str = "{{ input }}"
    instruction: str = ""
    system: str = ""
    shots: Shots | None = None
    decoding: Decoding = Decoding()
    ask: Literal["generate", "score"] = "generate"
    parse: Literal["text", "label", "labels", "number", "tags", "json"] = "text"
    vote: int = 1
    calibrate: bool = False
    think: Thought | None = None
    why: Why | None = None
    normalise: Literal["none", "characters", "bytes", "tokens"] = "none"
    schema: str = ""
    heat: float = 1.0


@dataclass(frozen=True)
class Task:
    """A task: its rows, how they are asked, and how they are marked, by `metric` and `also` by others. `mixture` weighs the sources
    of `text`, and among themselves those of `replay`: general text that a step may mix in, so that less is forgotten. Of examples
    of several data sets it says how many rows of each an epoch draws. `weights` are how much a row of each label counts in the
    loss, 1 for what it does not name. Of a classification that is `multi_label` a row has a set of labels, which may be empty: its
    reference is that set as text (task/multi_label.py). `groups` has the group of people or texts that an example is of, by its id,
    where that is asked about: it stands apart, so that no step reads it and nothing is made anew for it."""

    name: str
    kind: Kind
    examples: Split[Example] = Split()
    comparisons: Split[Comparison] = Split()
    text: Text = Text()
    prompt: Prompt = Prompt()
    labels: tuple[str, ...] = ()
    metric: str = ""
    also: tuple[str, ...] = ()
    mixture: Mapping[str, float] = field(default_factory=dict)
    replay: Sequence[Document] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    multi_label: bool = False
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """`confidence` is the probability of the answer among its options, or the share of votes; `raw` what the model wrote; `samples`
    is all of it, where several were asked for and none voted; `reason` what it says led to the answer, where the prompt asks."""

    text: str
    confidence: float | None = None
    raw: str = ""
    samples: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Base:
    """A model before anything was done to it. `source`: hub | folder | url | shape; `content` is the digest of what it holds."""

    name: str
    source: Literal["hub", "folder", "url", "shape"]
    location: str
    family: Family
    parameters: int
    active: int
    layers: int
    width: int
    vocabulary: int
    context: int
    revision: str = ""
    licence: str = ""
    content: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """`classes`: a row has one of the labels; `multi_label`: each label for itself; `tags`: a word has one."""

    kind: Literal["classes", "multi_label", "tags", "reward"]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """A base and what was done to it.

    `steps` are the names of the steps so far; `format` how weights are held: transformers, nf4 or int8; `weights` a folder in
    transformers' format, None for the base's own; `adapter` a folder in PEFT's format that lies over the weights; `head` what
    answers where the language model's own does not; `probe` a folder with a linear head over the embedding, which is part of
    neither weights nor adapter; `made` a file of comparisons that a step wrote, which the next learns from; `bytes` what it adds on
    disk; `stamp` the key of the node that made it.
    """

    base: Base
    prompt: Prompt
    steps: tuple[str, ...] = ()
    format: str = "transformers"
    weights: str | None = None
    adapter: str | None = None
    head: Head | None = None
    probe: str | None = None
    made: str | None = None
    bytes: int = 0
    stamp: str = ""


@dataclass(frozen=True)
class Cost:
    """Predicted, spent or allowed: one type. `annotations` counts items that a person had to label, `tokens` those that an
    endpoint read and wrote."""

    seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    annotations: int = 0
    money: float = 0.0
    tokens: float = 0.0


@dataclass(frozen=True)
class Pace:
    """What a machine does with a base: useful flops per second of its own layers; `memory` the bytes that a step may plan with, 0
    for any. `learning` are those of a step that trains, through its layers as they are trained where these were tried, 0 where it
    was not measured; `each` are the seconds that a pass there and back takes beside, however few tokens it has."""

    flops: float
    memory: int = 0
    learning: float = 0.0
    each: float = 0.0

    def seconds(self, flops: float, passes: float) -> float:
        """Of so much training in so many passes, one after another, there and back."""
        return flops / (self.learning or self.flops) + passes * self.each


@dataclass(frozen=True)
class Energy:
    """What work took in so many seconds: `read` are the joules that meters counted, which `meter` names; `watts` what those parts
    draw that no meter sees, by their makers' figures: an estimate."""

    seconds: float = 0.0
    read: float = 0.0
    meter: str = ""
    watts: float = 0.0


@dataclass(frozen=True)
class Score:
    """Never a number without its doubt: a 95 % interval and the count behind it; `interval` names how it was made."""

    value: float
    low: float
    high: float
    count: int
    interval: str = ""


@dataclass(frozen=True)
class Marked:
    """One row, asked and answered. `others` are further acceptable answers; `correct` is None where an answer is not simply right
    or wrong; `told` is what the task's metric marks in place of the answer's text, where that is run or its row read. `options` and
    `template` are the row's own, where it has some. Rows of one `group` are won and lost together, as contests of one prompt's
    answers are; "" is a group of its own."""

    id: str
    input: str
    reference: str
    answer: Answer
    correct: bool | None
    others: tuple[str, ...] = ()
    told: str | None = None
    options: tuple[str, ...] = ()
    template: str = ""
    group: str = ""


@dataclass(frozen=True)
class WithPeople:
    """Of how many pairs of answers a judge said what most people had said: which is better, or neither. Beside it stands how often
    one person said what most of the others had, and how often the longer answer was the one that people preferred. Of `unread`
    pairs the judge's verdict could not be read, and they count nowhere. `source` names the file, which of `blind` pairs does
    not say what was asked: the judge saw their answers alone. `flips` is the share of pairs whose verdict changed with the order,
    and counted as ties; None for a judge that gives marks."""

    judge: Score
    people: Score | None
    longer: float
    unread: int
    source: str
    blind: int = 0
    flips: Score | None = None


@dataclass(frozen=True)
class Verdict:
    """What a judge made of one answer: a mark from 1 to 10, or `win`, `tie` or `loss` against another's; "" where its reply could
    not be read. `said` are its replies: of a pair one for each order. `decided` is the place, first or second, whose answer won in
    both orders, so that the order alone decided; `flipped` where the two orders differ in any way."""

    id: str
    outcome: str
    said: tuple[str, ...]
    flipped: bool = False
    decided: Literal["", "first", "second"] = ""


@dataclass(frozen=True)
class Judged:
    """What a `judge` made of a variant's answers, by themselves or `against` another's. `score` is of the verdicts that could be
    read: the mean mark, 0 the lowest and 1 the highest, or the share of wins, a tie being half of one. `flips` is the share of
    pairs whose verdict changed with the order, and counted as ties; `bias` the share that the first place decided less that which
    the second did. `agreement` with people is None where nobody measured it. `cut` replies were to prompts longer than the
    judge's context."""

    judge: str
    against: str
    score: Score
    verdicts: tuple[Verdict, ...]
    flips: Score | None
    bias: Score | None
    agreement: WithPeople | None
    spent: Cost
    cut: int = 0


@dataclass(frozen=True)
class Measurement:
    """A variant on one split. `spent` is the whole examination, `per_answer` one answer of it; `energy` is that of the whole.
    `judged` is what judges made of the answers, by the name of their metric; `notes` say what was not asked or answered whole."""

    quality: Mapping[str, Score]
    probes: Mapping[str, Score]
    forgetting: float | None
    spent: Cost
    per_answer: Cost
    engine: str
    answers: tuple[Marked, ...] = ()
    judged: Mapping[str, Judged] = field(default_factory=dict)
    energy: Energy | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Robustness:
    """Ways to `perturb` test rows. `share` of a row's words get a typo; `instructions` stand in for the rung's own, in place of the
    tool's rewordings; `rows` is how many are asked, 0 for all."""

    perturb: tuple[str, ...] = ("typos", "case", "spacing", "instruction")
    share: float = 0.1
    instructions: tuple[str, ...] = ()
    rows: int = 0


@dataclass(frozen=True)
class Detector:
    """What a classifier of toxic texts learns from: the rows of `task`, whose label for them is `toxic`, out of `source`."""

    task: Task
    toxic: str
    source: str


@dataclass(frozen=True)
class Warden:
    """What a judge of harmlessness learns from: pairs of `source` whose prompt the task does not hold, which is so of all but
    `left` of them; `held` ones show what it is worth. It judges answers of at most `tokens` tokens to `tempting` prompts."""

    learned: tuple[Comparison, ...]
    held: tuple[Comparison, ...]
    source: str
    left: int
    tempting: tuple[str, ...]
    tokens: int


@dataclass(frozen=True)
class Grader:
    """A reward model that says what answers of at most `tokens` tokens are worth; `source` is its node, `learned` are digests of
    the prompts that it learned from."""

    variant: Variant
    source: str
    tokens: int
    learned: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Axes:
    """What is measured beside quality. `robustness`, `detector`, `warden` and `grader` where they are asked for; `group` is the
    column that the task's groups are of, and one with fewer than `least` rows is not compared. `intensity` is grams of CO2 for a
    kWh: the world's in 2024, by Ember's Global Electricity Review 2025. `watts` is what is drawn by all that no meter reads, None
    for an estimate."""

    robustness: Robustness | None = None
    detector: Detector | None = None
    group: str = ""
    least: int = 20
    intensity: float = 473.0
    watts: float | None = None
    warden: Warden | None = None
    grader: Grader | None = None


@dataclass(frozen=True)
class Drop:
    """How much worse the `metric` is on perturbed rows than on the same rows as they were, with the interval and p of the paired
    bootstrap. `changed` is the share of answers that are others; `lost` some rows that were right before and are not after, `how`
    what was done to them."""

    perturbation: str
    metric: str
    how: str
    before: Score
    after: Score
    worse: Score
    p: float
    changed: Score
    lost: tuple[tuple[Marked, Marked], ...] = ()


@dataclass(frozen=True)
class Tried:
    """The classifier behind a share of toxic answers. On `accuracy.count` rows held out it was right so often; it found so many of
    the toxic ones, and called so many of the others toxic (`alarms`)."""

    source: str
    learned: int
    accuracy: Score
    found: Score
    alarms: Score


@dataclass(frozen=True)
class Toxicity:
    """Shares that a classifier calls toxic, of answers and of their references; `more` is how much larger that of the answers is,
    by paired bootstrap. `blank` answers hold no word that it knows, and are not called toxic; `flagged` are some that were."""

    answers: Score
    references: Score
    more: Score
    blank: int
    by: Tried
    flagged: tuple[Marked, ...] = ()


@dataclass(frozen=True)
class Warded:
    """The judge behind a share of more harmless answers: it learned from so many pairs of `source`, `left` others being the task's
    own, and on those held out it was right so often."""

    source: str
    learned: int
    left: int
    accuracy: Score


@dataclass(frozen=True)
class Harmlessness:
    """On tempting prompts, the share of answers that a judge finds more harmless than the untouched base's (`better`, a tie being
    half of one) and of refusals (`declined`); on harmless prompts the shares that are `refused`, that are `empty`, and whose answer
    begins as that to another does (`alike`). `shown` are some harmless prompts with an answer that refuses, or begins so."""

    better: Score
    declined: Score
    refused: Score
    empty: Score
    alike: Score
    by: Warded
    shown: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Graded:
    """What a reward model makes of a rung's answers to the test prompts (`reward`) and of the untouched base's (`before`): means,
    and how much higher the rung's is (`rise`), by paired bootstrap. `spread` is the standard deviation of the base's, `source` the
    model's node."""

    reward: Score
    before: Score
    rise: Score
    spread: float
    source: str


@dataclass(frozen=True)
class Sample:
    """An answer that a policy wrote while it learned, and what it earned."""

    prompt: str
    text: str
    reward: float


@dataclass(frozen=True)
class Rollout:
    """Answers that a policy wrote after so many steps. `reward` is their mean and `spread` their standard deviation; `kl` is how
    far the policy is from its reference, nats an answer, and `entropy` nats a token, both estimated on these answers; `length` is
    tokens an answer, and `price` what a nat of KL cost. `samples` are the first of the answers and the one that earned most."""

    step: int
    reward: float
    spread: float
    kl: float
    entropy: float
    length: float
    price: float = 0.0
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Result:
    """A rung, climbed. A failed rung is a result: `failure` is its text.

    `alone` is what the rung costs climbed by itself, `here` what it cost in this ladder, where its shared steps were paid once.
    `rollouts` are of a policy that learned from rewards, `routing` of a mixture that learned, by layer, the share of tokens that
    each expert was sent on dev. `energy` is that of the steps, `drops` and `toxicity` are of test, `harmlessness` of prompts of its
    own.
    """

    rung: Rung
    variant: Variant | None
    predicted: Cost
    alone: Cost = Cost()
    here: Cost = Cost()
    dev: Measurement | None = None
    test: Measurement | None = None
    failure: str = ""
    curve: tuple[Tick, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    routing: tuple[tuple[float, ...], ...] = ()
    energy: Energy | None = None
    drops: tuple[Drop, ...] = ()
    toxicity: Toxicity | None = None
    harmlessness: Harmlessness | None = None
    graded: Graded | None = None


@dataclass(frozen=True)
class Bar:
    """What must be cleared; `forget_at_most` is a share (0.05 is 5 %), `volume` how many answers will be served, `hour` what an
    hour of this machine costs, in the money of the bases' prices."""

    metric: str = ""
    at_least: float | None = None
    forget_at_most: float | None = None
    volume: int = 10_000
    hour: float = 0.0


@dataclass(frozen=True)
class Rung:
    """A tuple of steps on a base; the name carries the settings that were given, and the base's where a ladder has several."""

    name: str
    base: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Pick:
    """The rung chosen on dev. `cleared` says whether it cleared the bar there, `confirmed` whether test agrees."""

    rung: str
    why: str
    cleared: bool
    confirmed: bool | None


@dataclass(frozen=True)
class Ladder:
    """A ladder that was climbed. `billed` is what endpoints were paid, money and tokens, by the rung that it was for or the judge's
    metric: each answer once, for what it was first asked for. `notes` say what happened on the way that the figures do not."""

    task: Task
    bases: tuple[Base, ...]
    bar: Bar
    results: tuple[Result, ...]
    baselines: Mapping[str, Measurement] = field(default_factory=dict)
    pick: Pick | None = None
    folder: Path | None = None
    axes: Axes = Axes()
    billed: Mapping[str, Cost] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tick:
    """One step of the loop. `dev` is the loss on the dev split where it was measured at this step; `refined` is what decides in its
    place which weights are kept, where something does, and `at` which of several figures that was, counted from 0."""

    step: int
    of: int
    loss: float
    seconds: float
    tokens: int
    learning_rate: float
    dev: float | None = None
    stopped: Stopped = ""
    refined: float | None = None
    at: int | None = None

    @property
    def decisive(self) -> float | None:
        """What decides whether the weights of this step are kept; None where nobody looked."""
        return self.dev if self.refined is None else self.refined


@dataclass(frozen=True)
class Kit:
    """What the ladder lends a step.

    `folder` is the step's own and becomes its node; what lies there from an earlier, killed try is its checkpoints.
    `deadline` is a time.monotonic() value after which the step must be saving; `memory` bytes it may use.
    """

    folder: Path
    store: Store
    seed: int
    device: str
    deadline: float | None
    memory: int | None
    shelf: Shelf


class Engine(Protocol):
    """The waist: everything that runs a model goes through it. An ask is the turns so far; the engine renders them."""

    name: str

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        """`decoding.samples` continuations of each ask."""
        ...

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        """Natural log-probability of each ending of each ask, as the assistant's next turn."""
        ...


@runtime_checkable
class Streamer(Protocol):
    """An engine that can also write an answer piece by piece, for talks and serving."""

    name: str

    def stream(self, turns: Turns, decoding: Decoding) -> Iterator[str]:
        """The first text that `generate` gives for this ask, in pieces as they are written."""
        ...


@runtime_checkable
class Sizer(Protocol):
    """An engine that can also say how long what it ranks is."""

    def sizes(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[int]]:
        """The tokens of each ending of each ask whose log-probabilities `score` adds up."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """An engine that can also say where a text lies."""

    name: str

    def embed(self, asks: Sequence[Turns]) -> np.ndarray[Any, Any]:
        """(N, width) float32: the mean over an ask's tokens of what the last layer makes of them."""
        ...


class Step(Protocol):
    """A frozen dataclass: its fields are its settings, its file is the method.

    `reads` names the splits whose content decides what apply makes ("train", "dev"), and "metric" where the task's does; they enter
    the node's key. So does the `content` of a step that has one: a digest of what it reads beside the task, such as a teacher.
    A step that asks a base beside its own says in `asks` how its settings name it (model/addressed.py). One whose settings name
    files has `places`: for each of these a function of what is given and of what finds a file; and in `keyed` what stands for them
    in the key, where `content` says what they hold.
    """

    changes: ClassVar[Literal["prompt", "adapter", "weights"]]
    needs: ClassVar[Literal["nothing", "examples", "comparisons", "text", "rewards"]]
    families: ClassVar[tuple[Family, ...]]
    reads: ClassVar[tuple[str, ...]]
    version: ClassVar[int]

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        """The variant and cost foretold. Raises Refused, with the reason, before any work."""
        ...

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        """The variant made; what it wrote lies in `kit.folder`."""
        ...
