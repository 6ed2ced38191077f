"""RESP2, the client's side: commands to bytes, bytes to replies."""


class Error(Exception):
    """An error reply; compares by its text."""

    def __eq__(self, other):
        return isinstance(other, Error) and self.args == other.args

    __hash__ = Exception.__hash__


def command(*words):
    """A command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def read_reply(peer):
    """One reply off a daemon.Peer: bytes, int, None, list or Error; a status is a str."""
    line = peer.read_until(b"\r\n")[:-2]
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        return Error(rest.decode(errors="backslashreplace"))
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else peer.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return None if rest == b"-1" else [read_reply(peer) for _ in range(int(rest))]
    raise AssertionError(f"no reply begins with {line!r}")


def ask(peer, *words):
    peer.send(command(*words))
    return read_reply(peer)
