"""A limit on the seconds of a whole benchmark."""

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


class OutOfTime(BaseException):
    """The budget is used up. Not an Exception: no library may take it for a failure of its own."""


@dataclass
class Budget:
    """The time that is left, seconds."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    def used(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self.began

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.seconds - self.used()

    def refusal(self, estimate: float) -> str:
        """Return why something that takes `estimate` seconds is left out; empty: it fits."""
        if estimate <= self.left():
            return ""
        left = max(0.0, self.left())
        return f"left out: takes about {estimate:.0f} s, {left:.0f} s of {self.seconds:.0f} left"

    @contextlib.contextmanager
    def enforced(self) -> Iterator[None]:
        """Raise OutOfTime where the block goes on after the end of the budget."""

        def stop(*_: object) -> None:
            raise OutOfTime(f"stopped: the budget of {self.seconds:.0f} s is used up")

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(self.left(), 0.01))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
