"""The metrics; a file's name is its metric's name.

A file says `better` ("higher" or "lower"), `best` (the value of perfect answers), where "lower" has a bound `worst`, where "higher"
goes below 0 `least`, `kinds` (the kinds of task whose table it stands in unasked; a classification of several labels is
`multi_label`) and `interval` ("wilson" for a share of rows, else "bootstrap"). Where it depends on the rows what perfect answers
have, `relative` is True, and `best` is a bound that no answers pass. The file holds either

    items(answers, references, labels) -> list[float]      when the metric is the mean of its rows, or
    statistics(answers, references, labels) -> (rows, S)   numbers that add up over rows, and
    combine(sums: (R, S)) -> (R,)                          the metric of each of R sums, so that a bootstrap is one matrix product.

What has to look at more than an answer's text has `outcomes(examples, answers) -> list[str]`, and marks those.

Where a metric takes settings, they are the fields of its dataclass `Settings`, which has these functions. It may have `full`: all
of them, for a metric that is called by them even where they were not given; and `content`: a digest of what it reads beside the
texts.

`references` holds, for each row, every acceptable answer, first the one that is learned.
"""
