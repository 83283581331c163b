"""Pykka: tells, asks with a time-out, and spawn + stop, per second. Prints one JSON object. Usage: COUNT."""

import json
import sys
import time

import pykka


class Counter(pykka.ThreadingActor):  # type: ignore[misc]
    """Counts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: object) -> int:
        """Whatever comes."""
        self.count += 1
        return self.count


def main() -> None:
    """All three."""
    count = int(sys.argv[1])
    rates = {}
    actor = Counter.start()
    begun = time.perf_counter()
    for number in range(count):
        actor.tell(number)
    actor.ask(0)
    rates["tell"] = count / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for number in range(count // 10):
        actor.ask(number, timeout=5)
    rates["ask"] = count / 10 / (time.perf_counter() - begun)
    actor.stop()
    begun = time.perf_counter()
    for _ in range(count // 50):
        Counter.start().stop()
    rates["spawn"] = count / 50 / (time.perf_counter() - begun)
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
