"""TCP: every way of opening, serving and ending a connection."""

from collections.abc import Iterator

from tests.live.truth import talk
from tests.live.truth.place import Place
from tests.live.truth.scenario import scenario

LOCAL, PORT = "127.0.0.1", 7001
UP, DOWN = 1009, 503


@scenario("TCP", "client closes first")
def client_first(place: Place) -> Iterator[None]:
    place.serve(LOCAL, PORT, [["recv", UP], ["send", DOWN], ["eof"], ["close"]])
    yield
    steps = [["send", UP], ["recv", DOWN], ["shutdown"], ["eof"], ["close"]]
    place.run(talk.connect, address=LOCAL, port=PORT, steps=steps, times=31)


@scenario("TCP", "server closes first")
def server_first(place: Place) -> Iterator[None]:
    place.serve(LOCAL, PORT, [["recv", UP], ["send", DOWN], ["shutdown"], ["eof"], ["close"]])
    yield
    steps = [["send", UP], ["recv", DOWN], ["eof"], ["close"]]
    place.run(talk.connect, address=LOCAL, port=PORT, steps=steps, times=31)
