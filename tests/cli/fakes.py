"""A node that answers on its control socket as the real one does, from a table of answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overlay.errors import OverlayError

Answer = Callable[[dict[str, Any]], object]


class FakeNode:
    """Answers one connection after another. ``asked`` has what came; ``stop`` is what ``down`` does to a node."""

    def __init__(self, home: Path, answers: Mapping[str, object]) -> None:
        self.home = home
        self.answers = dict(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.progress: list[str] = []
        (home / "run").mkdir(parents=True, exist_ok=True)
        self._path = home / "run" / "control.sock"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._listener.listen(8)
        self._running = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nobody answers from now on."""
        self._running = False
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the thread."""
        if self._path.exists():
            self._running = False
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
                last.connect(str(self._path))
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while self._running:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rwb") as file:
                line = file.readline()
                if line:
                    asked = json.loads(line)
                    self.asked.append((asked["command"], asked["args"]))
                    for told in self.progress:
                        file.write(json.dumps({"progress": told}).encode() + b"\n")
                    said = self._answer(asked["command"], asked["args"])
                    if said:
                        file.write(json.dumps(said).encode() + b"\n")

    def _answer(self, command: str, args: dict[str, Any]) -> dict[str, object]:
        answer = self.answers.get(command)
        if callable(answer):
            answer = answer(args)
        if isinstance(answer, OverlayError):
            return {"error": {"what": answer.what, "todo": answer.todo, "exit": answer.exit_status, "rule": answer.rule}}
        return {} if answer is SILENCE else {"result": answer}


SILENCE = object()  # the connection ends without an answer


@contextmanager
def running(home: Path, answers: Mapping[str, object]) -> Iterator[FakeNode]:
    """A fake node on that home for as long as the block lasts."""
    node = FakeNode(home, answers)
    try:
        yield node
    finally:
        node.close()
