"""When a route learns features of texts, from what, and what it has learned: a fold of its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.terms import check_terms, key_id_of
from fairlead.optimizer.features.text import TEXT_WIDTH, TextChange, TextEncoder, carry, fit_text
from fairlead.optimizer.learning.unread_terms import UnreadTerms
from fairlead.optimizer.types.arrays import FloatArray, State, joined, part
from fairlead.optimizer.types.events import Decision, EncoderFitted, copy_with

FIRST_FIT: Final = 128
"""Texts before the first fit. Another follows once they have doubled, or their kinds have changed."""

LEAST_NEWS: Final = 16
"""Where kinds change all the time, texts grow by a sixteenth at least between fits, megabytes in the log."""

MOST_TEXTS: Final = 16_384
"""Latest texts whose terms are kept, which bounds memory and the time of a fit."""

CARRIED: Final = 4_096
"""Latest texts from which it is learned how coordinates carry over to the next encoder."""

_CARRY: Final = "carry"


class TextLearner:
    """Terms of a route's latest decisions, and the encoder that was learned of such terms.

    Beside it, requests have a number of ``fixed`` features by an encoder of another ``version``.
    """

    def __init__(self, *, fixed: int = 0, version: str = "") -> None:
        self.fixed, self._version = fixed, version
        self.encoder: TextEncoder | None = None
        """The encoder in force; None before the first fit."""
        self.pending: tuple[TextEncoder, FloatArray] | None = None
        """The encoder that comes into force with the next refit, and the map of `carry` to it."""
        self.fits = 0
        self.texts = 0
        """Texts that were seen when the encoder in force was learned."""
        self.seen = 0
        """Decisions with a text so far, of those hashed with the present key."""
        self.reason = ""
        """Why the latest fit learned nothing; empty if it did."""
        self._fit_at, self._others = FIRST_FIT, 0
        self._unread: UnreadTerms | None = None
        """Watches for other traffic while an encoder is in force."""
        self._terms: dict[int, bytes] = {}
        """Terms of the latest decisions, by seq, and of other texts, by numbers below 0."""

    def add(self, seq: int, terms: bytes) -> None:
        """Remember the terms of a decision; those of another key start anew, since no two keys compare."""
        check_terms(terms)
        if self._terms and key_id_of(next(reversed(self._terms.values()))) != key_id_of(terms):
            self._terms, self.seen, self._fit_at = {}, 0, FIRST_FIT
        self.seen += 1
        self._terms[seq] = terms
        if len(self._terms) > MOST_TEXTS:
            del self._terms[next(iter(self._terms))]
        if self._unread is not None and self._unread.update(self._share_unread(terms)):
            # Other traffic: once there are as many texts of it as before the first fit, it is learned from.
            self._fit_at = min(self._fit_at, self.seen + max(FIRST_FIT, self.texts // LEAST_NEWS))

    def _share_unread(self, terms: bytes) -> float:
        """Return the share of a text's terms that the encoder does not know; all of another key's."""
        encoder = self.encoder
        return 1.0 if encoder is None or encoder.key_id != key_id_of(terms) else encoder.unread(terms)

    def know(self, texts: Iterable[bytes | None]) -> None:
        """Remember the terms of texts that no decision was about."""
        for terms in texts:
            if terms is not None:
                self._others += 1
                self.add(-self._others, terms)

    def terms_of(self, seq: int) -> bytes | None:
        """Return the terms of a decision; None without a text, or if they are kept no more."""
        return self._terms.get(seq)

    @property
    def is_due(self) -> bool:
        """Whether there are enough texts for the next fit."""
        return self.pending is None and self.seen >= self._fit_at

    def fit(self) -> EncoderFitted:
        """Learn an encoder from the terms that are kept; changes nothing, and may take seconds."""
        terms, number = list(self._terms.values()), self.fits + 1
        try:
            encoder = fit_text(terms)
        except InvalidInput as error:
            return EncoderFitted(number=number, texts=self.seen, arrays={}, reason=str(error))
        carried = carry(self.encoder, encoder, terms[-CARRIED:])
        arrays = {**encoder.arrays, _CARRY: carried}
        return EncoderFitted(number=number, texts=self.seen, arrays=arrays)

    def fold(self, event: EncoderFitted) -> bool:
        """Take over a fit; False if another process was quicker, and the event counts for nothing.

        Raises `InvalidInput` for arrays that are no encoder.
        """
        if event.number != self.fits + 1:
            return False
        if not 0 < event.texts <= self.seen:
            raise InvalidInput(
                f"fit {event.number} came after {event.texts} texts, but this route has seen {self.seen}: it "
                "is of another route, or of another key"
            )
        if event.arrays:
            encoder = TextEncoder(event.arrays)
            carried = event.arrays.get(_CARRY)
            width = len(encoder.arrays["centre"])
            if carried is None or carried.shape != (width + 1, width) or not np.isfinite(carried).all():
                raise InvalidInput("a fitted encoder does not say how coordinates carry over: fit it again")
            self.pending = encoder, carried.astype(np.float64)
        self.fits, self.reason = event.number, event.reason
        if event.arrays:
            self.texts = event.texts
        # Not from now: what was fitted late is behind, and due again the sooner.
        self._fit_at = 2 * event.texts
        return True

    def change(self) -> TextChange:
        """Return what becomes of features when the encoder that was fitted comes into force."""
        assert self.pending is not None, "nothing was fitted"
        after, carried = self.pending
        return TextChange(before=self.encoder, after=after, carried=carried, fixed=self.fixed)

    def adopt(self) -> None:
        """Put the encoder that was fitted in force."""
        self.encoder, self.pending = self.change().after, None
        self._unread = UnreadTerms()

    @property
    def width(self) -> int:
        """Number of all features of a request."""
        return self.fixed + (0 if self.encoder is None else TEXT_WIDTH)

    @property
    def version(self) -> str:
        """Names what encodes requests."""
        return self._version if self.encoder is None else f"{self._version}+{self.encoder.version}"

    def encode(self, features: FloatArray, terms: bytes | None) -> tuple[FloatArray, str]:
        """Add the features of a text to all others, and name what encoded the request.

        Terms that were hashed with another key are not read; features that are whole stay as they are.
        """
        encoder = self.encoder
        if encoder is None or len(features) != self.fixed:
            return features, self.version
        is_read = terms is None or key_id_of(terms) == encoder.key_id
        whole = np.concatenate([features, encoder.encode(terms)])
        return whole, self.version if is_read else self._version

    def as_encoded_now(self, decision: Decision) -> Decision:
        """Return a decision with the features that its request has by the present encoder."""
        features = decision.features
        if self.encoder is None or (decision.encoder_version == self.version and len(features) == self.width):
            return decision
        if len(features) not in (self.fixed, self.fixed + TEXT_WIDTH):
            return decision
        return copy_with(decision, features=self.encode(features[: self.fixed], decision.terms)[0])

    @property
    def next_fit_at(self) -> int:
        """Number of texts with which the next fit is due."""
        return self._fit_at

    def _counts(self) -> tuple[int, ...]:
        return self.fits, self.texts, self.seen, self._fit_at, self._others

    def state(self) -> State:
        """Return the terms and the encoder as plain arrays."""
        lengths = [len(terms) for terms in self._terms.values()]
        own: State = {
            "seqs": np.array(list(self._terms), dtype=np.int64),
            "lengths": np.array(lengths, dtype=np.int64),
            "terms": np.frombuffer(b"".join(self._terms.values()), dtype=np.uint8),
            "counts": np.array(
                [self.fits, self.texts, self.seen, self._fit_at, self._others], dtype=np.int64
            ),
            "unread": np.empty(0) if self._unread is None else self._unread.state(),
            "reason": np.frombuffer(self.reason.encode(), dtype=np.uint8),
        }
        encoder: State = {} if self.encoder is None else self.encoder.arrays
        return {**own, **joined(encoder=encoder)}

    def restore(self, state: State) -> None:
        """Become what gave `state`; nothing of releases that learned no texts."""
        if not state:
            return
        content, ends = state["terms"].tobytes(), np.cumsum(state["lengths"]).tolist()
        starts = [0, *ends]
        self._terms = {
            seq: content[start:end]
            for seq, start, end in zip(state["seqs"].tolist(), starts[:-1], ends, strict=True)
        }
        self.fits, self.texts, self.seen, self._fit_at, self._others = state["counts"].tolist()
        self.reason = state["reason"].tobytes().decode()
        arrays = part(state, "encoder")
        if arrays:
            self.encoder, self._unread = TextEncoder(arrays), UnreadTerms()
            self._unread.restore(state["unread"])
