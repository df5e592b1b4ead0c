"""Commands in replicas: run to their end, or talked to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelyard.client import outputs
from modelyard.client._sync.transport import Transport
from modelyard.client.outputs import Ended, Piece, Ran

_PART = 1 << 18


class Shells:
    """The shells of one project's services; names may carry a stage, `churn@debug`."""

    def __init__(self, transport: Transport, project: str) -> None:
        self._transport = transport
        self._path = f"/projects/{project}/deployments"

    def run(self, name: str, command: Sequence[str], *, replica: str = "", stdin: bytes = b"") -> Ran:
        """Run a command in a replica (the first that runs, if none is named) and wait for its end."""
        shell = self.open(name, command, replica=replica)
        for begin in range(0, len(stdin), _PART):
            self.write(name, shell, stdin[begin : begin + _PART])
        self.write(name, shell, b"", end=True)
        pieces: list[Piece] = []
        code = -1
        for each in self.read(name, shell):
            if isinstance(each, Piece):
                pieces.append(each)
            else:
                code = each.code
        return outputs.ran(pieces, code)

    def open(
        self,
        name: str,
        command: Sequence[str] = (),
        *,
        replica: str = "",
        terminal: tuple[int, int] | None = None,
    ) -> str:
        """Begin a command, without words a shell; `terminal` are its rows and columns. Its id."""
        window = {"rows": terminal[0], "columns": terminal[1]} if terminal else None
        body = {"command": list(command), "replica": replica, "terminal": window}
        return str((self._transport.call("POST", f"{self._path}/{name}/exec", json=body))["id"])

    def read(self, name: str, shell: str) -> Iterator[Piece | Ended]:
        """What it writes, and then how it ended."""
        with self._transport.stream(f"{self._path}/{name}/exec/{shell}/output") as response:
            for line in response.iter_lines():
                found = outputs.read(line)
                if found is not None:
                    yield found

    def write(self, name: str, shell: str, data: bytes, *, end: bool = False) -> None:
        """Give it input; with `end` none will follow."""
        params = {"end": "true"} if end else None
        path = f"{self._path}/{name}/exec/{shell}/input"
        self._transport.send("POST", path, content=data, params=params)

    def resize(self, name: str, shell: str, rows: int, columns: int) -> None:
        """Tell it the size of its terminal."""
        path = f"{self._path}/{name}/exec/{shell}/window"
        self._transport.call("POST", path, json={"rows": rows, "columns": columns})

    def close(self, name: str, shell: str) -> None:
        """End it."""
        self._transport.call("DELETE", f"{self._path}/{name}/exec/{shell}")
