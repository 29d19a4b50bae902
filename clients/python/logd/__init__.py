"""A client of logd, a networked append-only log. It needs nothing but Python.

    import logd

    with logd.Client("127.0.0.1:1774") as client:
        print(client.append("greetings", "hello"))
        for message in logd.Reader(client, "greetings"):
            print(message.id, message.body)

``Client`` makes single calls, ``Writer`` stores many messages, each once and in order,
``Reader`` reads and follows a topic, and ``Progress`` keeps on the server how far a program
has come.
"""

from .client import DEFAULT_ADDR, Client, Info, Position, Result
from .errors import *  # noqa: F401,F403
from .errors import __all__ as _errors
from .progress import Progress, first_free, share
from .reader import Reader
from .wire import ID, Message
from .writer import Writer

__all__ = [
    "DEFAULT_ADDR", "Client", "Info", "Position", "Result", "Progress", "Reader", "ID", "Message", "Writer", "first_free", "share",
    *_errors,
]
