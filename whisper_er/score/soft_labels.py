"""How far posteriors are from the votes of annotators: of each utterance, float (N,).

Axes: N utterances, C labels. votes_NC: shares of the votes; posterior_NC: probabilities.
"""

import numpy as np

from whisper_er.score.calibration import SMALLEST_PROBABILITY


def kullback_leibler(votes_NC: np.ndarray, posterior_NC: np.ndarray) -> np.ndarray:
    """KL(votes || posterior), nats; a posterior is taken as 1e-12 where it is less, so that it stays finite."""
    surprise_NC = np.log(np.maximum(votes_NC, SMALLEST_PROBABILITY) / np.maximum(posterior_NC, SMALLEST_PROBABILITY))
    return (votes_NC * surprise_NC).sum(axis=-1)  # a label without votes adds 0


def jensen_shannon(votes_NC: np.ndarray, posterior_NC: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence (Lin, 1991), nats: from 0 to log 2."""
    middle_NC = (votes_NC + posterior_NC) / 2
    return (kullback_leibler(votes_NC, middle_NC) + kullback_leibler(posterior_NC, middle_NC)) / 2


def brier(votes_NC: np.ndarray, posterior_NC: np.ndarray) -> np.ndarray:
    """Sum over the labels of the squared difference (Brier, 1950): from 0 to 2."""
    return ((votes_NC - posterior_NC) ** 2).sum(axis=-1)
