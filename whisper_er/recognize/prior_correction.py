"""Posteriors without the label prior of the training (Menon et al., 2021, Long-tail learning via logit adjustment,
post-hoc): a label that training drew often is no more probable for that.

    log corrected posterior = log posterior - tau * log prior, renormalised

tau is `prior_correction`; 1 is what makes the UA best if the posteriors are right. Axes: C labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from whisper_er.score.temperature import log
from whisper_er.task import Prediction, Task

DrawnLabels = Mapping[str, Mapping[str, int]]  # category -> label -> how often an epoch of the training drew it


def corrected(posterior_C: Sequence[float], count_C: Sequence[int], tau: float) -> np.ndarray:
    """float64 (C,). count_C: how often training drew each label; 0 counts as 1, as in class weights."""
    logit_C = log(posterior_C) - tau * np.log(np.maximum(count_C, 1))
    weight_C = np.exp(logit_C - logit_C.max())
    return weight_C / weight_C.sum()


def with_correction(prediction: Prediction, tasks: Sequence[Task], label_counts: DrawnLabels, tau: float) -> Prediction:
    """The same with the posteriors of its categories corrected, and by them the labels, where it has any. Texts and
    scales stay as they are."""
    values, posteriors = dict(prediction.values), dict(prediction.posteriors)
    for task in tasks:
        if task.name not in label_counts:
            continue
        counts = [label_counts[task.name].get(label, 0) for label in task.labels]
        posterior_C = corrected(posteriors[task.name], counts, tau)
        posteriors[task.name] = posterior_C.tolist()
        if values[task.name]:
            values[task.name] = task.value(posterior_C, int(posterior_C.argmax()))
    return replace(prediction, values=values, posteriors=posteriors)
