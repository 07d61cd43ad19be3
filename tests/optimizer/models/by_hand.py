"""The beliefs of the mixture from its definition, to compare the fast computation with."""

import numpy as np

OFF = 1e7
"""Prior precision of a block that a member does not look at."""


class ByHand:
    """The same beliefs from the definition of the model: centred, standardised, solved jointly."""

    def __init__(self, data) -> None:
        every = np.concatenate([x for x, _ in data])
        targets = np.concatenate([y for _, y in data])
        n, self.width = len(targets), every.shape[1]
        self.level = targets.mean()
        self.spread = max(targets.var(), 1e-4)
        centre = every[:, 1:].mean(axis=0)
        scale = np.sqrt((every[:, 1:].var(axis=0) * n + 4.0) / (n + 4.0))
        self.to = np.eye(self.width)
        self.to[1:, 0] = -centre / scale
        self.to[np.arange(1, self.width), np.arange(1, self.width)] = 1.0 / scale
        self.data = [(x @ self.to.T, y - self.level) for x, y in data]

    def precision(self, name, blocks=()) -> np.ndarray:
        pattern = name.removesuffix(" pooled")
        if pattern == "none":
            return np.array([1.0] + [OFF] * (self.width - 1))
        which, value = pattern.split("@")
        parts = [np.full(b.width, float(value) if which in ("all", b.name) else OFF) for b in blocks]
        return np.concatenate([[1.0], *parts])

    def alone(self, precision, prior_mean=0.0):
        """Mean, noise and covariance of each provider by itself, around ``prior_mean``."""
        means, noises, covs = [], [], []
        for x, y in self.data:
            rest = y - x @ (np.zeros(self.width) + prior_mean)
            a = x.T @ x + np.diag(precision)
            w = np.linalg.solve(a, x.T @ rest)
            noise = (self.spread + (rest @ rest - w @ x.T @ rest) / 2) / (1 + len(y) / 2)
            means.append(w + prior_mean)
            noises.append(noise)
            covs.append(noise * np.linalg.inv(a))
        return np.array(means), np.array(noises), np.array(covs)

    def pooled(self, precision):
        """Joint Gaussian of the common weights and every provider's, given each provider's noise."""
        d, k = self.width, len(self.data)
        _, first, _ = self.alone(precision)
        common = np.where(precision >= OFF, OFF, 0.25 * precision)
        common[0] = 0.01
        joint, pull = np.zeros(((k + 1) * d, (k + 1) * d)), np.zeros((k + 1) * d)
        joint[:d, :d] = np.diag(common / self.spread)
        for i, (x, y) in enumerate(self.data):
            own, tie = slice((i + 1) * d, (i + 2) * d), np.diag(precision) / first[i]
            joint[:d, :d] += tie
            joint[:d, own] = joint[own, :d] = -tie
            joint[own, own] = tie + x.T @ x / first[i]
            pull[own] = x.T @ y / first[i]
        inverse = np.linalg.inv(joint)
        solved = inverse @ pull
        mean = solved[d:].reshape(k, d)
        _, noise, _ = self.alone(precision, prior_mean=solved[:d])
        cov = np.empty((k, d, d))
        for i, (x, _) in enumerate(self.data):
            own = slice((i + 1) * d, (i + 2) * d)
            within = np.linalg.inv(x.T @ x + np.diag(precision))
            # The noise is estimated once more around the common part; what the common part adds stays.
            cov[i] = inverse[own, own] - first[i] * within + noise[i] * within
        return mean, noise, cov

    def member(self, name, blocks=()):
        precision = self.precision(name, blocks)
        return self.pooled(precision) if name.endswith("pooled") else self.alone(precision)
